//! The running jobs as lines, exactly those of 3.4's `distccmon-text`, which scripts cut by columns.

use super::states::State;

/// Columns of the source's name; a longer one is cut.
const FILE_COLUMNS: usize = 30;
/// Columns of the host's name; a longer one is cut.
const HOST_COLUMNS: usize = 24;

/// One line for each job and an empty one. Names are bytes, as files have them.
pub fn lines(states: &[State]) -> Vec<u8> {
    let mut text = Vec::new();
    for state in states {
        text.extend_from_slice(format!("{:>6}  {:<10}  ", state.process, state.phase.name()).as_bytes());
        let file = cut(&state.file, FILE_COLUMNS);
        text.extend_from_slice(file);
        text.resize(text.len() + FILE_COLUMNS - file.len() + 1, b' ');
        let host = cut(&state.host, HOST_COLUMNS);
        text.resize(text.len() + HOST_COLUMNS - host.len(), b' ');
        text.extend_from_slice(host);
        text.extend_from_slice(format!("[{}]\n", state.slot).as_bytes());
    }
    text.push(b'\n');
    text
}

fn cut(name: &[u8], columns: usize) -> &[u8] {
    &name[..name.len().min(columns)]
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
}
