#!/bin/sh
# Builds distcc from this directory and installs it, removes it again, or shows it at work. See --help.
set -eu

RUST_NEEDED=1.90               # `rust-version` in Cargo.toml
DAEMON_POLLS_MAX=200           # of POLL seconds each: how long a demonstration daemon may take to start
POLL=0.05
DEMO_JOBS=4
DEMO_SLOTS=2                   # at each of the two servers
DOTS_PER_LINE=50
SOURCE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
APPLETS="distccd pump lsdistcc include_server distccmon-text update-distcc-symlinks"

usage() {
    cat <<'END'
usage: ./install.sh [--prefix DIR]              build and install (default: /usr/local)
       ./install.sh [--prefix DIR] --with-gssapi  the same with GSS-API (,auth; distccd --auth)
       ./install.sh [--prefix DIR] --uninstall  remove what was installed
       ./install.sh --demo [PACKAGE]            distribute a build on this machine, then clean up
       ./install.sh --help

Installed are DIR/bin/distcc and its links, DIR/lib/distcc with a link for every compiler of this machine
(put it first on PATH; update-distcc-symlinks keeps it up to date), the manual pages, and sample configuration in DIR/etc, or in /etc when DIR is /usr.
A configuration file that is already there is kept, and a changed one survives --uninstall. Root is needed
only where DIR belongs to root. A host list is read from /etc and /usr/local/etc; with another DIR, copy
DIR/etc/distcc/hosts to ~/.distcc.

--with-gssapi builds a program that authenticates clients and servers with Kerberos. It is not static: it needs this
system's GSS-API library (Debian: libgssapi-krb5-2), and libkrb5-dev to be built.

--demo starts two servers on the loopback interface and builds tests/sample (or the Debian source package
PACKAGE, such as zlib) with make -j4 three times: through the servers in plain mode, through them in pump
mode, and without them. It says where each file was compiled, and compares every object file. The exit status
is 1 when one differs (in plain mode: in more than its information for the debugger), or when a mode has
distributed nothing, and for tests/sample when pump mode has not distributed everything. As root it also
installs the packages needed, those that PACKAGE needs to build included.

Environment:
  DESTDIR             is put before every installed path
  NO_COLOR            no colour, also on a terminal
  DISTCC_DEMO_BINDIR  a directory with the distcc, distccd and pump to demonstrate instead of this one's
  DISTCC_DEMO_PORTS   two ports for servers that cannot choose their own, such as "3701 3702"
END
}

say() { printf '%s\n' "$*"; }
warn() { printf 'install.sh: %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# ---------------------------------------------------------------------------------------------- prerequisites

# install_packages WHY PACKAGE...
install_packages() {
    why=$1
    shift
    have apt-get || die "$why; install it with this system's package manager"
    is_root || die "$why; type: sudo apt-get install $*"
    say "$why: installing $*"
    apt-get update -qq || warn "the package lists could not be refreshed; trying with the old ones"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null || die "apt-get could not install $*"
}

need_c_toolchain() {
    missing=
    for tool in cc c++ make; do
        have $tool || missing="$missing $tool"
    done
    [ -z "$missing" ] || install_packages "missing:$missing" build-essential
}

# at_least HAVE WANTED: compares MAJOR.MINOR
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# Sets `cargo`, and `builder` to the user it must run as (rustup keeps cargo in a home directory, and sudo
# leaves that directory behind).
find_cargo() {
    cargo='' builder=''
    if have cargo; then
        cargo=cargo
    elif [ -x "${HOME:-/}/.cargo/bin/cargo" ]; then
        cargo=$HOME/.cargo/bin/cargo
    elif is_root && [ -n "${SUDO_USER:-}" ]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        if [ -x "$home/.cargo/bin/cargo" ]; then
            cargo=$home/.cargo/bin/cargo builder=$SUDO_USER
        fi
    fi
    [ -n "$cargo" ]
}

run_cargo() {
    if [ -n "$builder" ]; then
        runuser -u "$builder" -- env "PATH=${cargo%/*}:$PATH" "HOME=$home" "$cargo" "$@"
    else
        PATH="$(dirname -- "$(command -v "$cargo")"):$PATH" "$cargo" "$@"
    fi
}

need_cargo() {
    advice="Rust $RUST_NEEDED or later is needed; get it from https://rustup.rs, then run this again"
    if ! find_cargo; then
        offered=$(apt-cache policy cargo 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9][0-9.]*\).*/\1/p')
        [ -n "$offered" ] || die "there is no cargo. $advice"
        at_least "$offered" $RUST_NEEDED || die "there is no cargo, and this system's packages have only $offered. $advice"
        install_packages "missing: cargo" cargo rustc
        find_cargo || die "cargo was installed but cannot be found"
    fi
    version=$(run_cargo --version | cut -d' ' -f2)
    at_least "$version" $RUST_NEEDED || die "cargo is $version. $advice"
}

# Builds, and sets `binary`. Without cargo, a binary that is already built will do.
build() {
    need_c_toolchain
    if [ -n "$gssapi" ]; then
        build_with_gssapi
        return
    fi
    if ! find_cargo; then
        for binary in "$SOURCE"/target/*/release/distcc "$SOURCE"/target/release/distcc; do
            if [ -x "$binary" ]; then
                say "no cargo here: using $binary"
                return
            fi
        done
    fi
    need_cargo
    say "building distcc with cargo $version"
    messages=$(cd "$SOURCE" && run_cargo build --release --locked --message-format=json-render-diagnostics) ||
        die "cargo build failed"
    binary=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\/distcc\)".*/\1/p' | tail -n 1)
    [ -x "$binary" ] || die "cargo build made no distcc"
}

# A dynamic program in a directory of its own: other flags in the same one would make cargo build everything again.
build_with_gssapi() {
    need_cargo
    [ -e /usr/include/gssapi/gssapi.h ] || install_packages "missing: gssapi/gssapi.h" libkrb5-dev
    say "building distcc with GSS-API, with cargo $version"
    # These flags take the place of those in .cargo/config.toml, which make a static program.
    (cd "$SOURCE" && RUSTFLAGS="-C target-feature=-crt-static" run_cargo build --quiet --release --locked \
        --features gssapi --target-dir target/gssapi) || die "cargo build failed"
    for binary in "$SOURCE"/target/gssapi/*/release/distcc; do
        [ ! -x "$binary" ] || return 0
    done
    die "cargo build made no distcc"
}

# Every compiler in /usr/bin, one a line, for a demonstration. It may be one of 3.4's programs, and theirs does not
# say which compilers there are; an installation asks update-distcc-symlinks.
compilers() {
    for path in /usr/bin/*; do
        name=${path##*/}
        case $name in
        cc | c++ | c89 | c99 | gcc | g++ | clang | clang++) ;;
        gcc-[0-9]* | g++-[0-9]* | clang-[0-9]* | clang++-[0-9]*) ;;
        *-gcc | *-g++ | *-gcc-[0-9]* | *-g++-[0-9]*) ;;
        *) continue ;;
        esac
        [ ! -x "$path" ] || say "$name"
    done
}

# ------------------------------------------------------------------------------------------------ installation
#
# The manifest says what is ours, one item a line: "d DIR", "f FILE", "l LINK", "c CHECKSUM FILE". Paths are
# without DESTDIR.

checksum() { cksum <"$1" | tr ' ' -; }

listed() { [ -f "$manifest" ] && grep -qxF -- "$1" "$manifest"; }

note() {
    listed "$1" || printf '%s\n' "$1" >>"$manifest"
}

# Makes a directory and its parents. Those made before the manifest can be written wait in `pending`.
make_dir() {
    [ ! -d "$DESTDIR$1" ] || return 0
    [ "$1" = / ] || make_dir "$(dirname -- "$1")"
    mkdir -- "$DESTDIR$1" || die "cannot make $DESTDIR$1; is this to be run by root?"
    if [ -d "${manifest%/*}" ]; then
        note "d $1"
    else
        pending="$pending$1
"
    fi
}

begin_manifest() {
    pending=
    [ -z "$DESTDIR" ] || mkdir -p -- "$DESTDIR"
    make_dir "${manifest_path%/*}"
    touch -- "$manifest" || die "cannot write to $DESTDIR$prefix; is this to be run by root?"
    printf %s "$pending" | while read -r dir; do
        note "d $dir"
    done
}

# Whether something that is not ours is in the way.
occupied() {
    { [ -e "$DESTDIR$1" ] || [ -L "$DESTDIR$1" ]; } && ! listed "f $1" && ! listed "l $1"
}

# install_file MODE FROM TO. Replaces by renaming, so that a running distcc is not disturbed.
install_file() {
    note "f $3"
    make_dir "$(dirname -- "$3")"
    cp -- "$2" "$DESTDIR$3.new"
    chmod "$1" "$DESTDIR$3.new"
    mv -f -- "$DESTDIR$3.new" "$DESTDIR$3"
}

install_link() {
    if occupied "$2"; then
        warn "kept $DESTDIR$2, which is not from this script"
        return
    fi
    note "l $2"
    ln -sfn -- "$1" "$DESTDIR$2"
}

install_config() {
    from=$1 to=$2
    if [ -e "$DESTDIR$to" ] && ! listed "c $(checksum "$DESTDIR$to") $to"; then
        say "kept $DESTDIR$to"
        return
    fi
    make_dir "$(dirname -- "$to")"
    if [ -f "$manifest" ]; then
        grep -v -- "^c [0-9-]* $to\$" "$manifest" >"$manifest.new" || true
        mv -f -- "$manifest.new" "$manifest"
    fi
    cp -- "$from" "$DESTDIR$to"
    chmod 644 "$DESTDIR$to"
    note "c $(checksum "$from") $to"
}

set_paths() {
    case $prefix in
    /*) ;;
    *) die "--prefix $prefix: not an absolute path" ;;
    esac
    [ "$prefix" = / ] || prefix=${prefix%/}
    DESTDIR=${DESTDIR:-}
    DESTDIR=${DESTDIR%/}
    if [ "$prefix" = /usr ]; then
        etc=/etc
    else
        etc=$prefix/etc
    fi
    manifest_path=$prefix/share/distcc/manifest
    manifest=$DESTDIR$manifest_path
}

install_all() {
    set_paths
    build
    for name in distcc $APPLETS; do
        if occupied "$prefix/bin/$name"; then
            die "$DESTDIR$prefix/bin/$name is there already and not from this script; remove it or choose another --prefix"
        fi
    done
    begin_manifest
    install_file 755 "$binary" "$prefix/bin/distcc"
    for name in $APPLETS; do
        install_link distcc "$prefix/bin/$name"
    done
    make_dir "$prefix/lib/distcc"
    "$DESTDIR$prefix/bin/update-distcc-symlinks" --prefix "$DESTDIR$prefix" >/dev/null ||
        die "no links for compilers could be made in $DESTDIR$prefix/lib/distcc"
    for page in "$SOURCE"/man/*.1; do
        [ ! -f "$page" ] || install_file 644 "$page" "$prefix/share/man/man1/${page##*/}"
    done
    for name in hosts clients.allow commands.allow.sh; do
        install_config "$SOURCE/packaging/config/$name" "$etc/distcc/$name"
    done
    install_config "$SOURCE/packaging/config/default/distcc" "$etc/default/distcc"

    say "installed $DESTDIR$prefix/bin/distcc"
    say "next: name your build machines in $(hosts_file),"
    say "put $prefix/lib/distcc first on PATH, and make -j"
}

# Where a host list is read: distcc knows two places of the system's, and the first that exists counts.
hosts_file() {
    case $etc in
    /etc) say /etc/distcc/hosts ;;
    /usr/local/etc)
        if [ -e "$DESTDIR/etc/distcc/hosts" ]; then
            say "/etc/distcc/hosts (which goes before $etc/distcc/hosts)"
        else
            say "$etc/distcc/hosts"
        fi
        ;;
    *) say "DISTCC_HOSTS or .distcc/hosts in your home directory" ;;
    esac
}

uninstall_all() {
    set_paths
    [ -f "$manifest" ] || die "nothing was installed in $DESTDIR$prefix by this script"
    while read -r kind item; do
        case $kind in
        f) rm -f -- "$DESTDIR$item" ;;
        l) [ ! -L "$DESTDIR$item" ] || rm -f -- "$DESTDIR$item" ;;
        c)
            sum=${item%% *} item=${item#* }
            if [ ! -e "$DESTDIR$item" ]; then
                :
            elif [ "$(checksum "$DESTDIR$item")" = "$sum" ]; then
                rm -f -- "$DESTDIR$item"
            else
                say "kept $DESTDIR$item: it was changed"
            fi
            ;;
        esac
    done <"$manifest"
    # They follow the machine's compilers, so no manifest knows them.
    for item in "$DESTDIR$prefix"/lib/distcc/*; do
        [ "$(readlink -- "$item")" != ../../bin/distcc ] || rm -f -- "$item"
    done
    directories=$(sed -n 's/^d //p' "$manifest" | sort -r)
    rm -f -- "$manifest"
    printf '%s\n' "$directories" | while read -r dir; do
        # One that holds something else by now stays.
        [ -z "$dir" ] || rmdir -- "$DESTDIR$dir" 2>/dev/null || true
    done
    say "removed distcc from $DESTDIR$prefix"
}

# ----------------------------------------------------------------------------------------------- demonstration

demo_cleanup() {
    status=$?
    trap '' INT TERM HUP
    # shellcheck disable=SC2086 # a list of numbers
    for pid in $build_pid $daemon_pids; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $build_pid $daemon_pids; do
        wait "$pid" 2>/dev/null || true
    done
    cd /
    rm -rf -- "$work"
    exit "$status"
}

choose_style() {
    bold='' good='' bad='' plain='' terminal=no
    if [ -t 1 ]; then
        terminal=yes
        if [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
            esc=$(printf '\033')
            bold="${esc}[1m" good="${esc}[32m" bad="${esc}[31m" plain="${esc}[0m"
        fi
    fi
}

heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.1f s", ms / 1000 }'; }
now() { date +%s%3N; }

# start_daemon NUMBER PORT: adds to `addresses` and `daemon_pids`.
start_daemon() {
    log=$work/distccd$1.log
    mkdir -m 1777 "$work/tmp$1"
    # The list of commands is the whitelist here: /usr/lib/distcc need not exist before an installation.
    env TMPDIR="$work/tmp$1" DISTCC_CMDLIST="$work/commands" \
        "$work/bin/distccd" --no-detach --daemon --port "$2" --listen 127.0.0.1 --allow 127.0.0.1 \
        --log-stderr --log-level info --jobs $DEMO_JOBS --enable-tcp-insecure 2>"$log" </dev/null &
    pid=$!
    daemon_pids="$daemon_pids $pid"
    polls=0 port=
    while [ -z "$port" ]; do
        kill -0 $pid 2>/dev/null || die "distccd did not start: $(tail -n 1 "$log")"
        [ $polls -lt $DAEMON_POLLS_MAX ] || die "distccd does not say where it listens: $(tail -n 1 "$log")"
        polls=$((polls + 1))
        sleep $POLL
        port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9][0-9]*\).*/\1/p' "$log" | head -n 1)
    done
    say "server $1 listens on 127.0.0.1:$port"
    addresses="$addresses 127.0.0.1:$port"
}

# fetch_package NAME: unpacks its source into $work/source. The machine's own package lists stay as they are.
fetch_package() {
    have apt-get || die "--demo PACKAGE needs apt-get"
    have dpkg-source || install_packages "missing: dpkg-source" dpkg-dev
    apt=$work/apt
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial" "$work/source"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -f "$list" ] || sed -n 's/^deb \(.*\)/deb \1\ndeb-src \1/p' "$list" >>"$apt/sources.list"
    done
    touch "$apt/sources.list"
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb deb-src/' "$list" >"$apt/parts/${list##*/}"
    done
    cat >"$apt/options" <<END
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "$apt/parts";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
END
    say "fetching the source of $1"
    APT_CONFIG=$apt/options apt-get update -qq >"$work/apt.log" 2>&1 || warn "apt-get update: $(tail -n 1 "$work/apt.log")"
    # Without the distribution's patches, which may replace the build by one that only debian/rules can start.
    (
        cd "$work/source"
        APT_CONFIG=$apt/options apt-get source -qq --download-only "$1"
        dpkg-source --no-check --skip-patches -x ./*.dsc tree
    ) >"$work/apt.log" 2>&1 || die "apt-get source $1: $(grep -v '^W' "$work/apt.log" | tail -n 1)"
    if is_root; then
        say "installing what $1 needs to build"
        APT_CONFIG=$apt/options DEBIAN_FRONTEND=noninteractive apt-get build-dep -y -qq "$1" >"$work/apt.log" 2>&1 ||
            warn "apt-get build-dep $1: $(tail -n 1 "$work/apt.log")"
    fi
    cd "$work/source/tree"
    if [ -x configure ]; then
        say "configuring $1"
        ./configure >"$work/configure.log" 2>&1 || die "configure failed: $(tail -n 1 "$work/configure.log")"
    fi
    [ -f Makefile ] || [ -f makefile ] || [ -f GNUmakefile ] || die "$1 has neither a configure script nor a Makefile"
}

find_objects() { find . -type f \( -name '*.o' -o -name '*.lo' -o -name '*.os' \) | sed 's|^\./||' | sort; }

# Draws one line again and again on a terminal, or one dot for each object.
progress() {
    if [ "$terminal" = yes ]; then
        printf '\r%s: %s objects, %s' "$1" "$2" "$(seconds $(($(now) - started)))"
    else
        while [ "$drawn" -lt "$2" ]; do
            [ "$drawn" -eq 0 ] || [ $((drawn % DOTS_PER_LINE)) -ne 0 ] || printf '\n    '
            printf .
            drawn=$((drawn + 1))
        done
    fi
}

# run_build MODE COMMAND [ARG]...: runs a command that builds in the current directory; sets `took` and `processor` to
# milliseconds, the latter of the command and all it started and waited for.
run_build() {
    mode=$1 log=$work/$1.log
    shift
    case $mode in
    local) label="local build" count=count_objects ;;
    *) label="$mode mode" count=count_compiled ;;
    esac
    started=$(now) drawn=0 tick=0
    [ "$terminal" = yes ] || printf '%s: ' "$label"
    (
        env -u MAKEFLAGS -u MAKELEVEL -u DISTCC_VERBOSE -u DISTCC_FALLBACK -u DISTCC_POTENTIAL_HOSTS \
            "SOURCE_DATE_EPOCH=$epoch" "$@" >"$log" 2>&1 </dev/null &
        command_pid=$!
        trap 'kill $command_pid' TERM
        result=0
        wait $command_pid || result=$?
        trap - TERM
        # Again, for one that was told to end and takes its time.
        wait $command_pid 2>/dev/null || true
        times >"$work/times"
        exit $result
    ) &
    build_pid=$!
    while kill -0 $build_pid 2>/dev/null; do
        sleep $POLL
        tick=$((tick + 1))
        [ $((tick % 4)) -ne 0 ] || progress "$label" "$($count)"
    done
    result=0
    wait $build_pid || result=$?
    build_pid=
    took=$(($(now) - started))
    processor=$(tail -n 1 "$work/times" | tr 'ms' '  ' | awk '{ printf "%.0f", (($1 + $3) * 60 + $2 + $4) * 1000 }')
    progress "$label" "$($count)"
    if [ "$terminal" = yes ]; then
        echo
    else
        echo " $drawn objects, $(seconds $took)"
    fi
    if [ $result -ne 0 ]; then
        tail -n 15 "$log" >&2
        die "the build failed"
    fi
}

# distributed_build MODE HOST-OPTIONS COMMAND [ARG]...: builds through the servers; leaves the tree in $work/MODE, what
# was compiled in $work/MODE.jobs, and a fresh tree in its place. Objects name the directory they were made in.
distributed_build() {
    mode=$1 options=$2 client_log=$work/$1.client hosts=
    shift 2
    for address in $addresses; do
        hosts="$hosts $address/$DEMO_SLOTS,$options"
    done
    : >"$client_log"
    mkdir "$work/state"
    run_build "$mode" "PATH=$work/masquerade:$PATH" "DISTCC_DIR=$work/state" "DISTCC_LOG=$client_log" \
        "DISTCC_HOSTS=$hosts" INCLUDE_SERVER_ARGS=-t "$@"
    rm -rf -- "$work/state"
    # What the include server has used is not in the sum, because it is nobody's child.
    processor=$((processor + $(sed -n 's/^include_server: elapsed .* user \([0-9.]*\) s, system \([0-9.]*\) s$/\1 \2/p' "$log" |
        awk '{ ms = ($1 + $2) * 1000 } END { printf "%.0f", ms }')))
    read_client_log >"$work/$mode.jobs"
    cd "$work"
    mv -- "$tree" "$work/$mode"
    cp -a -- "$work/pristine" "$tree"
    cd "$tree"
}

count_compiled() { read_client_log | grep -vc '^-' || true; }
count_objects() { find_objects | wc -l; }

# Reads the client's log; prints HOST SOURCE OBJECT for each compile, and "- - -" for each other command. One process
# writes all lines of a job, so the process id gathers them.
read_client_log() {
    awk '
        { pid = $1 }
        / compile from .* to / {
            line = $0
            sub(/.* compile from /, "", line)
            split(line, names, " to ")
            source[pid] = names[1]; object[pid] = names[2]
        }
        / exec on .*: / {
            line = $0
            sub(/.* exec on /, "", line)
            host[pid] = line
            sub(/: .*/, "", host[pid])
            sub(/^[^ ]*: /, "", line)
            compiles = 0
            count = split(line, words, " ")
            for (i = 2; i <= count; i++) {
                if (words[i] == "-c") compiles = 1
                else if (words[i] == "-o") object[pid] = words[++i]
                else if (words[i] ~ /^[^-].*\.(c|cc|cpp|cxx|C|i|ii|m|mm|s|S)$/) source[pid] = words[i]
            }
            if (!compiles) delete source[pid]
        }
        / compile .* on .* completed/ {
            line = $0
            sub(/ completed.*/, "", line)
            sub(/.* on /, "", line)
            host[pid] = line
        }
        / elapsed compilation time / {
            sub(/\/.*/, "", host[pid])
            if (pid in source) print host[pid], source[pid], object[pid]
            else print "- - -"
            delete source[pid]; delete object[pid]; delete host[pid]
        }' "$client_log"
}

# The objects on disk that a name from the log means. A makefile may have renamed NAME.o to NAME.lo since.
objects_named() {
    wanted=${1#./}
    while :; do
        case $wanted in
        ../*) wanted=${wanted#../} ;;
        *) break ;;
        esac
    done
    stem=${wanted##*/}
    awk -v whole="$wanted" -v renamed="${stem%.*}.lo" '
        function ends(path, tail) {
            return path == tail || substr(path, length(path) - length(tail)) == "/" tail
        }
        ends($0, whole) { print; found = 1 }
        ends($0, renamed) { other[++others] = $0 }
        END { if (!found) for (i = 1; i <= others; i++) print other[i] }' "$work/objects"
}

same_code() {
    cp -- "$1" "$work/one.o"
    cp -- "$2" "$work/other.o"
    strip --strip-debug "$work/one.o" "$work/other.o" 2>/dev/null && cmp -s "$work/one.o" "$work/other.o"
}

# same MODE OBJECT: "yes", "code" when only information for the debugger differs, "NO", or "?" when the build did not
# keep it (the tests of a configure script).
same() {
    verdict='?'
    for candidate in $(objects_named "$2"); do
        if cmp -s "$work/$1/$candidate" "$candidate"; then
            [ "$verdict" != '?' ] || verdict=yes
        elif same_code "$work/$1/$candidate" "$candidate"; then
            [ "$verdict" = NO ] || verdict=code
        else
            verdict=NO
        fi
    done
    printf %s "$verdict"
}

# judge MODE: writes $work/MODE.verdicts, "SOURCE OBJECT WHERE VERDICT" for each file that can be compared.
judge() {
    grep -v '^-' "$work/$1.jobs" | while read -r host source object; do
        verdict=$(same "$1" "$object")
        [ "$verdict" != '?' ] || continue
        where=$host number=0
        for address in $addresses; do
            number=$((number + 1))
            [ "$host" != "$address" ] || where=server-$number
        done
        printf '%s %s %s %s\n' "$source" "$object" "$where" "$verdict"
    done >"$work/$1.verdicts"
}

print_table() {
    printf '\n%s%-40s  %-16s  %s%s\n' "$bold" '' 'plain mode' 'pump mode' "$plain"
    printf '%s%-40s  %-10s %-5s  %-10s %s%s\n' "$bold" file where same where same "$plain"
    awk -v good="$good" -v bad="$bad" -v plain="$plain" '
        function cell(id, form) {
            if (!(id in where)) return sprintf("  %-10s " form, "-", "")
            return sprintf("  %-10s %s" form "%s", where[id], verdict[id] == "NO" ? bad : good, verdict[id], plain)
        }
        {
            key = $1 " " $2
            if (!(key in source)) { source[key] = $1; keys[++count] = key }
            where[key, FILENAME] = $3; verdict[key, FILENAME] = $4
        }
        END {
            for (i = 1; i <= count; i++) {
                key = keys[i]
                name = source[key]
                if (length(name) > 40) name = "..." substr(name, length(name) - 36)
                printf "%-40s%s%s\n", name, cell(key SUBSEP ARGV[1], "%-5s"), cell(key SUBSEP ARGV[2], "%s")
            }
        }' "$work/plain.verdicts" "$work/pump.verdicts"
}

# tally MODE: sets `all` files, those `remote`, and those with an object `equal` to the local one or equal in `code`.
tally() {
    all=$(wc -l <"$work/$1.verdicts")
    remote=$(grep -c ' server-[0-9]* [^ ]*$' "$work/$1.verdicts" || true)
    equal=$(grep -c ' yes$' "$work/$1.verdicts" || true)
    code=$(grep -c ' code$' "$work/$1.verdicts" || true)
}

warnings() { grep -c 'warning: ' "$work/$1.log" || true; }

# Exit status of the whole demonstration.
print_summary() {
    outcome=0
    tally plain
    plain_remote="$remote of $all" plain_equal="$equal of $all" plain_code=$code
    [ "$remote" -gt 0 ] && [ $((equal + code)) -eq "$all" ] || outcome=1
    tally pump
    pump_remote="$remote of $all" pump_equal="$equal of $all"
    [ "$remote" -gt 0 ] && [ "$equal" -eq "$all" ] || outcome=1
    [ -n "$package" ] || [ "$remote" -eq "$all" ] || outcome=1

    colour=$good
    [ $outcome -eq 0 ] || colour=$bad
    row='%-40s  %-16s  %-16s  %s\n'
    # shellcheck disable=SC2059 # one format for all rows
    {
        printf "\n$bold$row$plain" '' 'plain mode' 'pump mode' 'local'
        printf "$colour$row$plain" 'files that the servers compiled' "$plain_remote" "$pump_remote" ''
        printf "$colour$row$plain" 'objects the same as local ones' "$plain_equal" "$pump_equal" ''
        printf "$row" 'compiler warnings' "$(warnings plain)" "$(warnings pump)" "$(warnings local)"
        printf "$row" "make -j$DEMO_JOBS took" "$(seconds "$plain_took")" "$(seconds "$pump_took")" "$(seconds "$local_took")"
        printf "$row" 'processor time without the servers' "$(seconds "$plain_processor")" \
            "$(seconds "$pump_processor")" "$(seconds "$local_processor")"
    } | sed 's/ *$//'
    echo
    [ "$plain_code" -eq 0 ] ||
        say "In plain mode $plain_code more have the same code, and differ in what they tell the debugger (-g)."
    checked=$(grep -c 'may be due to preprocessing; compiling here' "$work/plain.client" || true)
    [ "$checked" -eq 0 ] ||
        say "In plain mode $checked were compiled by a server, and then here to see if its warning was true."
    say "All of it ran on this machine's $(nproc) processors: what took how long shows no gain, processor time does."
    return $outcome
}

demo() {
    need_c_toolchain
    if [ -z "${DISTCC_DEMO_BINDIR:-}" ]; then
        build
    fi
    build_pid='' daemon_pids='' addresses='' work=$(mktemp -d)
    trap demo_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # A server started by root gives up root: it must be able to reach its own directory and the compilers' list.
    chmod 711 "$work"
    mkdir "$work/bin" "$work/masquerade"
    if [ -n "${DISTCC_DEMO_BINDIR:-}" ]; then
        cp -- "$DISTCC_DEMO_BINDIR/distcc" "$DISTCC_DEMO_BINDIR/distccd" "$work/bin"
        pump=$(CDPATH='' cd -- "$DISTCC_DEMO_BINDIR" && pwd)/pump
    else
        cp -- "$binary" "$work/bin/distcc"
        for name in distccd pump include_server; do
            ln -s distcc "$work/bin/$name"
        done
        pump=$work/bin/pump
    fi
    for name in $(compilers); do
        ln -s ../bin/distcc "$work/masquerade/$name"
        say "/usr/bin/$name" >>"$work/commands"
    done
    choose_style
    if [ -n "$package" ]; then
        fetch_package "$package"
    else
        cp -R -- "$SOURCE/tests/sample" "$work/sample"
        cd "$work/sample"
        make clean >/dev/null
    fi

    heading "distcc at work: ${package:-tests/sample}"
    # shellcheck disable=SC2086 # two numbers
    set -- ${DISTCC_DEMO_PORTS:-0 0}
    start_daemon 1 "$1"
    start_daemon 2 "${2:-0}"
    # What notes its build time shall note the same one each time.
    epoch=$(date +%s)
    tree=$PWD
    cp -a -- "$tree" "$work/pristine"
    distributed_build plain lzo make -j$DEMO_JOBS
    plain_took=$took plain_processor=$processor
    distributed_build pump lzo,cpp "$pump" make -j$DEMO_JOBS
    pump_took=$took pump_processor=$processor
    run_build local make -j$DEMO_JOBS
    local_took=$took local_processor=$processor
    find_objects >"$work/objects"
    judge plain
    judge pump
    print_table
    demo_status=0
    print_summary || demo_status=1
    if [ -z "$package" ]; then
        heading "the program's own check"
        make -s check || demo_status=1
    fi
    exit $demo_status
}

# ------------------------------------------------------------------------------------------------------- main

prefix=/usr/local action=install_all package='' gssapi=''
while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
        [ $# -ge 2 ] || die "--prefix needs a directory"
        prefix=$2
        shift
        ;;
    --prefix=*) prefix=${1#*=} ;;
    --with-gssapi) gssapi=yes ;;
    --uninstall) action=uninstall_all ;;
    --demo)
        action=demo
        case ${2:-} in
        '' | -*) ;;
        *)
            package=$2
            shift
            ;;
        esac
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) die "$1: unknown; see $0 --help" ;;
    esac
    shift
done
$action
