//! What version 3 does not carry and still decides what a compiler writes: variables, file times, and whether both
//! machines have the same system headers. Travels as a few more file entries, which a server of 3.4 merely stores.
//! See "13. The surroundings of a job" in docs/protocol.md.
//!
//! Knows no environment and no file; and not that file entries are compressed.

use super::error::ProtocolError;
use super::limits::{ARGUMENTS_MAX, FILES_MAX};
use super::packet;
use crate::checksum::Crc32;

/// Below this path no entry is a file of the client's.
pub const PREFIX: &[u8] = b"/.distcc/";
/// The entry that carries variables.
pub const ENVIRONMENT_NAME: &[u8] = b"/.distcc/environment";
/// The entry that carries file times and system headers. Like the other it comes before all files.
pub const FILES_NAME: &[u8] = b"/.distcc/files";

/// The entry that carries the command as the user gave it, where servers of 3.4 had to be given another.
pub const COMMAND_NAME: &[u8] = b"/.distcc/command";

/// How a server's refusal begins if its system headers are not the client's.
pub const HEADERS_DIFFER: &str = "system headers differ: ";

/// The variables that travel: those that change what gcc or clang write, and name no file (gcc(1), ENVIRONMENT).
pub const VARIABLES: [&str; 18] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "GCC_COLORS",
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
    "GCC_URLS",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "NO_COLOR",
    "POSIXLY_CORRECT",
    "PWD",
    "SOURCE_DATE_EPOCH",
    "TERM",
    "TERM_URLS",
    "TZ",
];

/// A file's modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds, less than a second of them.
    pub nanoseconds: u32,
}

/// A header that the job may look up in the system directories, by the name it is included by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemHeader {
    /// The name: relative, as it stands in the directive or below the directory.
    pub name: Vec<u8>,
    /// What all directories have under that name; see [`fingerprint`].
    pub fingerprint: u32,
}

/// What travels in the entry [`FILES_NAME`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The times of the files that follow, in their order; links have none.
    pub times: Vec<FileTime>,
    /// The compiler's own include directories, in search order.
    pub directories: Vec<Vec<u8>>,
    /// The headers that are looked up there.
    pub headers: Vec<SystemHeader>,
}

/// One number for what a list of directories has under one name: for each directory the CRC-32 of its file's
/// content, or `None` where there is no such file.
pub fn fingerprint(found: impl IntoIterator<Item = Option<u32>>) -> u32 {
    let mut sum = Crc32::new();
    for content in found {
        match content {
            Some(content) => sum.update(&[&[1], content.to_le_bytes().as_slice()].concat()),
            None => sum.update(&[0]),
        }
    }
    sum.finish()
}

/// Appends one variable. A value with a NUL byte, which none has, would end early.
pub fn encode_variable(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(0);
}

/// The variables and their values. Others than [`VARIABLES`] are left out: a peer does not choose what else a compiler
/// sees. So are languages that are paths, for the C library would take the texts of messages, with their placeholders, from
/// a file of the peer's.
pub fn decode_environment(content: &[u8]) -> Result<Vec<(&'static str, &[u8])>, ProtocolError> {
    let mut variables: Vec<(&'static str, &[u8])> = Vec::new();
    for record in records(content)? {
        let at = record.iter().position(|byte| *byte == b'=').ok_or_else(|| bad_record(record))?;
        let (name, value) = (&record[..at], &record[at + 1..]);
        if let Some(known) = VARIABLES.iter().find(|known| known.as_bytes() == name) {
            if (known.starts_with("LANG") || known.starts_with("LC_")) && value.contains(&b'/') {
                continue;
            }
            packet::check_limit("number of variables", variables.len() as u64 + 1, VARIABLES.len() as u64)?;
            variables.push((*known, value));
        }
    }
    Ok(variables)
}

/// Appends the words of a command, which hold no NUL byte.
pub fn encode_command(argv: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    for word in argv {
        out.extend_from_slice(word.as_ref());
        out.push(0);
    }
}

/// The words of a command; there is at least one.
pub fn decode_command(content: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    packet::check_limit("number of arguments", records(content)?.count() as u64, ARGUMENTS_MAX.into())?;
    let words: Vec<Vec<u8>> = records(content)?.map(<[u8]>::to_vec).collect();
    if words.is_empty() { Err(ProtocolError::NoArguments) } else { Ok(words) }
}

impl Files {
    /// Appends the entry's content.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for time in &self.times {
            encode_time(*time, out);
        }
        for directory in &self.directories {
            encode_directory(directory, out);
        }
        for header in &self.headers {
            encode_header(&header.name, header.fingerprint, out);
        }
    }

    /// Reads the entry's content.
    pub fn decode(content: &[u8]) -> Result<Files, ProtocolError> {
        let mut files = Files::default();
        for record in records(content)? {
            let bad = || bad_record(record);
            let (kind, rest) = record.split_first().ok_or_else(bad)?;
            match kind {
                b'T' => files.times.push(decode_time(rest).ok_or_else(bad)?),
                b'D' => files.directories.push(rest.to_vec()),
                b'H' => {
                    let (digits, name) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
                    let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
                    let fingerprint = u32::from_str_radix(digits, 16).map_err(|_| bad())?;
                    files.headers.push(SystemHeader { name: name.to_vec(), fingerprint });
                }
                // A later program may say more.
                _ => {}
            }
            // Before more are stored: a record of some bytes takes many times as many here.
            for (what, count) in [
                ("number of file times", files.times.len()),
                ("number of system directories", files.directories.len()),
                ("number of system headers", files.headers.len()),
            ] {
                packet::check_limit(what, count as u64, FILES_MAX.into())?;
            }
        }
        Ok(files)
    }
}

/// Appends the time of the next file.
pub fn encode_time(time: FileTime, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("T{}.{:09}\0", time.seconds, time.nanoseconds).as_bytes());
}

/// Appends the next system directory.
pub fn encode_directory(path: &[u8], out: &mut Vec<u8>) {
    out.push(b'D');
    out.extend_from_slice(path);
    out.push(0);
}

/// Appends a system header.
pub fn encode_header(name: &[u8], fingerprint: u32, out: &mut Vec<u8>) {
    out.push(b'H');
    for shift in (0..8).rev() {
        out.push(b"0123456789abcdef"[(fingerprint >> (4 * shift) & 0xf) as usize]);
    }
    out.extend_from_slice(name);
    out.push(0);
}

fn decode_time(text: &[u8]) -> Option<FileTime> {
    let (seconds, nanoseconds) = std::str::from_utf8(text).ok()?.split_once('.')?;
    let nanoseconds: u32 = nanoseconds.parse().ok().filter(|parts| *parts < 1_000_000_000)?;
    Some(FileTime { seconds: seconds.parse().ok()?, nanoseconds })
}

fn records(content: &[u8]) -> Result<impl Iterator<Item = &[u8]>, ProtocolError> {
    let body = match content.split_last() {
        None => content,
        Some((0, body)) => body,
        Some(_) => return Err(ProtocolError::Truncated { reading: "the surroundings" }),
    };
    Ok(body.split(|byte| *byte == 0).filter(move |_| !content.is_empty()))
}

fn bad_record(record: &[u8]) -> ProtocolError {
    ProtocolError::BadRecord(record[..record.len().min(super::error::CONTEXT_BYTES_MAX)].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let header = |name: &str, fingerprint| SystemHeader { name: name.into(), fingerprint };
        Files {
            times: vec![
                FileTime { seconds: 1_700_000_000, nanoseconds: 5 },
                FileTime { seconds: -1, nanoseconds: 999_999_999 },
            ],
            directories: vec![b"/usr/include".to_vec()],
            headers: vec![header("stdio.h", 0xcafe), header("odd name.h", u32::MAX)],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for files in [files(), Files::default()] {
            let mut content = Vec::new();
            files.encode(&mut content);
            assert_eq!(Files::decode(&content), Ok(files));
        }
        let mut content = Vec::new();
        encode_variable("LANG", b"de_DE.UTF-8", &mut content);
        encode_variable("LD_PRELOAD", b"/evil.so", &mut content);
        encode_variable("LANGUAGE", b"de:../../../home/me", &mut content);
        encode_variable("TZ", b"A=B", &mut content);
        let expected = vec![("LANG", b"de_DE.UTF-8".as_slice()), ("TZ", b"A=B")];
        assert_eq!(decode_environment(&content), Ok(expected));
        assert_eq!(decode_environment(b""), Ok(Vec::new()));
        content.clear();
        encode_command(&["gcc", "", "-DX=a b"], &mut content);
        assert_eq!(content, b"gcc\0\0-DX=a b\0");
        assert_eq!(decode_command(&content).unwrap(), [&b"gcc"[..], b"", b"-DX=a b"]);
        assert!(decode_command(b"").is_err());
    }

    #[test]
    fn the_content_on_the_wire_stays_as_it_is() {
        let mut content = Vec::new();
        files().encode(&mut content);
        let expected =
            b"T1700000000.000000005\0T-1.999999999\0D/usr/include\0H0000cafestdio.h\0Hffffffffodd name.h\0";
        assert_eq!(content, expected);
    }

    #[test]
    fn bad_records_are_refused_and_unknown_ones_are_not() {
        for bad in [
            &b"T1.5"[..],
            b"T\0",
            b"T1\0",
            b"T1.1000000000\0",
            b"T1.-5\0",
            b"Hxyz\0",
            b"H+0000001a\0\0",
            b"\0",
        ] {
            assert!(Files::decode(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert_eq!(Files::decode(b"Zwhatever\0"), Ok(Files::default()));
        for bad in [&b"LANG\0"[..], b"LANG=x", b"\0"] {
            assert!(decode_environment(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn more_records_than_any_job_has_are_refused() {
        for record in ["T0.0\0", "D/\0", "H00000000x\0"] {
            assert!(Files::decode(record.repeat(FILES_MAX as usize).as_bytes()).is_ok(), "{record}");
            assert!(Files::decode(record.repeat(FILES_MAX as usize + 1).as_bytes()).is_err(), "{record}");
        }
        assert!(decode_environment("TZ=\0".repeat(VARIABLES.len() + 1).as_bytes()).is_err());
        assert!(decode_command("x\0".repeat(ARGUMENTS_MAX as usize + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_fingerprint_tells_place_and_content() {
        let cases = [
            vec![],
            vec![None],
            vec![None, None],
            vec![Some(0)],
            vec![Some(0), None],
            vec![None, Some(0)],
            vec![Some(1), None],
        ];
        let mut seen: Vec<u32> = cases.into_iter().map(fingerprint).collect();
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
