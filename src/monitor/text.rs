//! The running jobs as lines, exactly those of 3.4's `distccmon-text`, which scripts cut by columns.

use super::states::State;

/// Columns of the source's name; a longer one is cut.
const FILE_COLUMNS: usize = 30;
/// Columns of the host's name; a longer one is cut.
const HOST_COLUMNS: usize = 24;

/// One line for each job and an empty one. Names are bytes, as files have them, but for those that begin a line or steer a
/// terminal: whoever may write to the directory of states chooses them, and so does whoever names a source.
pub fn lines(states: &[State]) -> Vec<u8> {
    let mut text = Vec::new();
    for state in states {
        text.extend_from_slice(format!("{:>6}  {:<10}  ", state.process, state.phase.name()).as_bytes());
        let file = cut(&state.file, FILE_COLUMNS);
        push_harmless(&mut text, file);
        text.resize(text.len() + FILE_COLUMNS - file.len() + 1, b' ');
        let host = cut(&state.host, HOST_COLUMNS);
        text.resize(text.len() + HOST_COLUMNS - host.len(), b' ');
        push_harmless(&mut text, host);
        text.extend_from_slice(format!("[{}]\n", state.slot).as_bytes());
    }
    text.push(b'\n');
    text
}

fn cut(name: &[u8], columns: usize) -> &[u8] {
    &name[..name.len().min(columns)]
}

/// Appends a name with `?` for each byte of a control character, also of those with 8 bits, by themselves or in UTF-8.
fn push_harmless(text: &mut Vec<u8>, name: &[u8]) {
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            if character.is_control() {
                text.resize(text.len() + bytes.len(), b'?');
            } else {
                text.extend_from_slice(bytes);
            }
        }
        text.extend(
            chunk.invalid().iter().map(|byte| if (0x80..0xa0).contains(byte) { b'?' } else { *byte }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::state_file::Phase;

    #[test]
    fn the_columns_are_those_of_distcc_34() {
        let state = |process, file: &[u8], host: &[u8], slot, phase| State {
            host: host.to_vec(),
            slot,
            process,
            file: file.to_vec(),
            phase,
        };
        let long = [b'x'; 127];
        let text = lines(&[
            state(4321, b"hello.c", b"build3", 2, Phase::Preprocess),
            state(12345678, &long, &long, 10, Phase::Compile),
        ]);
        let want = concat!(
            "  4321  Preprocess  hello.c                                          build3[2]\n",
            "12345678  Compile     xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx xxxxxxxxxxxxxxxxxxxxxxxx[10]\n\n"
        );
        assert_eq!(String::from_utf8(text).unwrap(), want);
        assert_eq!(lines(&[]), b"\n");
    }
    #[test]
    fn no_name_begins_a_line_or_steers_a_terminal() {
        for (name, expected) in [
            (b"a\x1b[2J\n.c".as_slice(), b"a?[2J?.c".as_slice()),
            (b"\x9b2J\x07\x7f", b"?2J??"),
            (b"\xc2\x9b2J", b"??2J"),
            (b"Gr\xc3\xb6\xc3\x9fe.c \xe6\x97\xa5", b"Gr\xc3\xb6\xc3\x9fe.c \xe6\x97\xa5"),
            (b"Gr\xf6\xdfe.c", b"Gr\xf6\xdfe.c"),
        ] {
            let mut text = Vec::new();
            push_harmless(&mut text, name);
            assert_eq!(text, expected, "{name:?}");
        }
    }
}
