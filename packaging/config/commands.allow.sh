# Which compilers the distcc server runs, by full path; read (with ".") by a script that starts distccd. distccd itself
# does not look here, but at DISTCC_CMDLIST.
# shellcheck shell=sh
#
# The script sets CMDLIST to a file that the server can read. This fragment fills that file, one command to a line,
# and points distccd at it. A client's compiler name is looked up by its last NUMWORDS parts: with 1, a client that
# asks for "gcc" or "/opt/bin/gcc" gets the line that ends in "/gcc".
#
# Without CMDLIST nothing is set, and the masquerade directory decides alone.

if [ -n "${CMDLIST-}" ]; then
    # Change this list to offer other compilers, such as /opt/cross/bin/*-gcc.
    for compiler in \
        /usr/bin/cc /usr/bin/c++ \
        /usr/bin/gcc /usr/bin/g++ /usr/bin/gcc-[0-9]* /usr/bin/g++-[0-9]* \
        /usr/bin/clang /usr/bin/clang++ /usr/bin/clang-[0-9]* /usr/bin/clang++-[0-9]* \
        /usr/bin/*-linux-*-gcc /usr/bin/*-linux-*-g++ \
        /usr/bin/*-linux-*-gcc-[0-9]* /usr/bin/*-linux-*-g++-[0-9]*
    do
        # A pattern that matches nothing stays as it is, and is no program.
        if [ -x "$compiler" ]; then
            printf '%s\n' "$compiler"
        fi
    done >"$CMDLIST"
    DISTCC_CMDLIST=$CMDLIST
    DISTCC_CMDLIST_NUMWORDS=1
    export DISTCC_CMDLIST DISTCC_CMDLIST_NUMWORDS
fi
