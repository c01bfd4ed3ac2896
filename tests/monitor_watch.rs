//! The live view of `distccmon-text`, on a terminal: what stands on the screen, and how the terminal is left.

mod support;

use std::fs;

use serde_json::Value;
use support::{Sandbox, require};

/// Runs a command on a terminal of a size, sends it a signal after a while and says what was on the screen then, what the
/// terminal was told at the end and how the command ended. Knows the few sequences that matter.
const TERMINAL: &str = r#"
import fcntl, json, os, pty, re, select, signal, struct, sys, termios, time
columns, rows, after, number = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    os.execv(sys.argv[5], sys.argv[5:])
data, end, sent = b'', time.time() + after, 0
while time.time() < end + 10:
    if time.time() >= end and not sent:
        sent = len(data)
        os.kill(pid, number)
    if select.select([fd], [], [], 0.05)[0]:
        try: part = os.read(fd, 65536)
        except OSError: break
        if not part: break
        data += part
status = os.waitpid(pid, 0)[1]
screen = [''] * rows
row = column = widest = 0
for token in re.findall(r'\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b', data[:sent].decode('utf8', 'replace')):
    if token == '\x1b[H': row = column = 0
    elif token == '\x1b[K': screen[row] = screen[row][:column]
    elif token == '\x1b[J': screen[row + 1:] = [''] * (rows - row - 1)
    elif token == '\r': column = 0
    elif token == '\n': row += 1; assert row < rows, 'scrolls'
    elif token.startswith('\x1b'): assert token[-1] in 'mhl', repr(token)
    else:
        line = screen[row].ljust(column)
        screen[row] = line[:column] + token + line[column + len(token):]
        column += len(token)
        widest = max(widest, column)
print(json.dumps({'screen': screen, 'widest': widest, 'end': data[sent:].decode('utf8', 'replace'),
    'colours': b'\x1b[3' in data, 'signal': os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}))
"#;

fn state(file: &[u8], host: &[u8], slot: i32, phase: i32) -> Vec<u8> {
    let mut record = vec![0; 296];
    record[..8].copy_from_slice(&296u64.to_ne_bytes());
    record[8..16].copy_from_slice(&0x4449_4800u64.to_ne_bytes());
    record[16..24].copy_from_slice(&u64::from(std::process::id()).to_ne_bytes());
    record[24..24 + file.len()].copy_from_slice(file);
    record[152..152 + host.len()].copy_from_slice(host);
    record[280..284].copy_from_slice(&slot.to_ne_bytes());
    record[284..288].copy_from_slice(&phase.to_ne_bytes());
    record
}

#[test]
fn the_screen_shows_hosts_slots_jobs_and_failures_and_is_given_back() {
    let sandbox = Sandbox::new();
    for directory in ["state", "lock"] {
        fs::create_dir_all(sandbox.path("distcc").join(directory)).unwrap();
    }
    let put = |name: &str, bytes: &[u8]| fs::write(sandbox.path("distcc").join(name), bytes).unwrap();
    put("state/binstate_1", &state(b"good.cc", b"build1", 1, 5));
    put("state/binstate_2", &state(b"evil\x1b]0;x\x07\x9b2J\xff.c", b"stran\x1b[31mger", 0, 4));
    put("lock/backoff_tcp_build2_3632_0", b"x");
    for (columns, word, colour, signal) in [(80, "-w", true, 2), (132, "0.2", false, 15)] {
        let run = sandbox.command(require("python3")).args(["-c", TERMINAL]);
        let columns_word = columns.to_string();
        let program = sandbox.path("bin/distccmon-text");
        let words = [&columns_word, "24", "1", &signal.to_string(), program.to_str().unwrap(), word];
        let run = run.args(words).hosts("build1/4 build2/2").env("TERM", "xterm");
        let run = if colour { run } else { run.env("NO_COLOR", "1") };
        let run = run.run();
        assert_eq!(run.code(), 0, "{run}");
        let seen: Value = serde_json::from_slice(&run.stdout).unwrap();
        let screen: Vec<_> =
            seen["screen"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert!(screen[0].starts_with("2 running  0 done  0.0 jobs/s  backed off: 1"), "{screen:#?}");
        assert!(screen[1].starts_with("build1") && screen[1].ends_with("1/4     .C.."), "{screen:#?}");
        assert!(screen[2].contains("1 Compile    good.cc"), "{screen:#?}");
        assert!(screen[3].contains("failed; left alone for"), "{screen:#?}");
        assert!(screen[4].starts_with("stran?[31mger"), "{screen:#?}");
        assert!(screen[5].contains("evil?]0;x?"), "{screen:#?}");
        assert_eq!(seen["widest"], columns - 1, "{screen:#?}");
        assert!(seen["end"].as_str().unwrap().ends_with("\x1b[?25h\x1b[?1049l"), "{seen}");
        assert_eq!((&seen["signal"], &seen["colours"]), (&signal.into(), &colour.into()), "{seen}");
    }
}
