# Completion for fish of distcc, distccd, pump, lsdistcc, distccmon-text, include_server and update-distcc-symlinks.
# The options are those that the program itself names in its --help.

# An option and what it does on each line. What follows the list of options in --help names no options of its own.
function __distcc_options
    set -l program (commandline -opc)[1]
    $program --help 2>/dev/null | awk '
        /^(Environment|Host list|Examples)/ { exit }
        {
            text = ""; only = "--"
            if (sub(/^ +-/, "-")) {
                only = ""
                if (match($0, /  +/)) {
                    text = substr($0, RSTART + RLENGTH)
                    $0 = substr($0, 1, RSTART - 1)
                }
            }
            count = split($0, words, /[][|, ]+/)
            for (i = 1; i <= count; i++) {
                word = words[i]
                if (word ~ /^-[A-Za-z][A-Z]+$/) word = substr(word, 1, 2)  # and its value
                if (word ~ /^--?[A-Za-z][A-Za-z0-9_-]*$/ && index(word, only) == 1 && !(word in seen)) {
                    seen[word]
                    print word "\t" text
                }
            }
        }'
end

function __distcc_compilers
    complete -C '' | string replace -r '\t.*' '' |
        string match -r '^(?:.*-)?(?:cc|c\+\+|c89|c99|gcc|g\+\+|clang|clang\+\+)(?:-[0-9.]+)?$'
end

# Whether the word before the cursor's is one of these.
function __distcc_after
    contains -- (commandline -opc)[-1] $argv
end

# Whether the cursor is at an option of the program itself, and not in the command that it is to run.
function __distcc_at_option
    string match -q -- '-*' (commandline -ct); or return
    set -l words (commandline -opc)
    test (count $words) -eq 1; or string match -q -- '-*' $words[2]
end

for program in distcc distccd pump distcc-pump lsdistcc distccmon-text include_server update-distcc-symlinks
    complete -c $program -f -n __distcc_at_option -a '(__distcc_options)'
    complete -c $program -F -n '__distcc_after --allow-file --log-file --pid-file -P --allow-script --pid_file --port'
end
complete -c distcc -f -n 'test (count (commandline -opc)) -eq 1' -a '(__distcc_compilers)'
complete -c distcc -f -n '__distcc_after --scan-includes --explain' -a '(__distcc_compilers)'
complete -c distcc -F -n '__distcc_after --report --chrome'
for program in distcc pump distcc-pump
    complete -c $program -n 'test (count (commandline -opc)) -gt 1; and not string match -q -- "-*" (commandline -opc)[2]' \
        -x -a '(__fish_complete_subcommand)'
end
for program in pump distcc-pump
    complete -c $program -f -n 'test (count (commandline -opc)) -eq 1' -a '(__fish_complete_command)'
end
complete -c distccd -x -n '__distcc_after --log-level' -a 'error warning notice info debug'
complete -c distccd -x -n '__distcc_after --sandbox' -a 'require auto off'
complete -c distccd -x -n '__distcc_after --user' -a '(__fish_complete_users)'
complete -c distccd -x -n '__distcc_after --expose' -a '(__fish_complete_directories)'
complete -c update-distcc-symlinks -f
complete -c update-distcc-symlinks -x -n 'not __distcc_at_option' -a '(__fish_complete_directories)'
