# Completion for bash of distcc, distccd, pump, lsdistcc, distccmon-text, include_server and update-distcc-symlinks.
#
# The options are those that the program itself names in its --help.

# _distcc_options PROGRAM: one a line. What follows the list of options in --help names no options of its own.
_distcc_options() {
    "$1" --help 2>/dev/null | awk '
        /^(Environment|Host list|Examples)/ { exit }
        /^ *-/ { sub(/^ +/, ""); sub(/  .*/, ""); only = "" }
        !/^-/ { only = "--" }
        {
            count = split($0, words, /[][|, ]+/)
            for (i = 1; i <= count; i++) {
                word = words[i]
                if (word ~ /^-[A-Za-z][A-Z]+$/) word = substr(word, 1, 2)  # and its value
                if (word ~ /^--?[A-Za-z][A-Za-z0-9_-]*$/ && index(word, only) == 1 && !(word in seen)) {
                    seen[word]
                    print word
                }
            }
        }'
}

# The command behind word $1 is completed as it would be without the words before it.
_distcc_command() {
    if [[ $COMP_CWORD -gt $1 ]] && declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif [[ $COMP_CWORD -gt $1 ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
    elif [[ $3 == compilers ]]; then
        mapfile -t COMPREPLY < <(compgen -c -- "$2" |
            grep -E '(^|-)(cc|c\+\+|c89|c99|gcc|g\+\+|clang|clang\+\+)(-[0-9.]+)?$' | sort -u)
    else
        mapfile -t COMPREPLY < <(compgen -c -- "$2" | sort -u)
    fi
}

_distcc() {
    local program=${1##*/} current=$2 previous=$3
    COMPREPLY=()
    case $program/$previous in
        distccd/--log-level) mapfile -t COMPREPLY < <(compgen -W 'error warning notice info debug' -- "$current") ;;
        distccd/--sandbox) mapfile -t COMPREPLY < <(compgen -W 'require auto off' -- "$current") ;;
        distccd/--user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
        distccd/--expose | update-distcc-symlinks/--prefix)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            ;;
        */--*file | distccd/-P | distccd/--allow-script | include_server/--port | distcc/--report | distcc/--chrome)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            ;;
        distcc/--scan-includes | distcc/--explain) _distcc_command 2 "$current" compilers ;;
        *)
            if [[ $COMP_CWORD -gt 2 && ${COMP_WORDS[1]} == @(--scan-includes|--explain) ]]; then
                _distcc_command 2 "$current" compilers
            elif [[ $program == @(distcc|pump|distcc-pump) && $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} != -* ]]; then
                _distcc_command 1 "$current" any
            elif [[ $current == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(_distcc_options "$1")" -- "$current")
            elif [[ $program == distcc && $COMP_CWORD -eq 1 ]]; then
                _distcc_command 1 "$current" compilers
            elif [[ $program == @(pump|distcc-pump) && $COMP_CWORD -eq 1 ]]; then
                _distcc_command 1 "$current" any
            elif [[ $program == update-distcc-symlinks ]]; then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -d -- "$current")
            fi
            ;;
    esac
}

complete -F _distcc distcc distccd pump distcc-pump lsdistcc distccmon-text include_server update-distcc-symlinks
