//! What a compiler made, on its way through our hands: dependency files, messages, objects, gathered text; and what
//! monitors read of a job.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use distcc::compiler_args::{
    PathMaps, clean_dependencies, clean_messages, is_about_gathering, is_faithful, unrepeated,
};
use distcc::daemon::debug_info::hide_root;
use distcc::monitor::state_file::{Phase, STATE_BYTES, StateFile};
use distcc::protocol::peer_text::one_line;

/// The directory that is to disappear.
const ROOT: &[u8] = b"/t/R";

fn count(text: &[u8], wanted: &[u8]) -> usize {
    text.windows(wanted.len()).filter(|part| *part == wanted).count()
}

/// The text as names are compared: without blanks and line breaks.
fn names(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match &text[at..] {
            [b'\\', b'\n', ..] => at += 2,
            [b' ' | b'\t' | b'\n', ..] => at += 1,
            [b'\\', second, ..] => {
                out.extend([b'\\', *second]);
                at += 2;
            }
            [first, ..] => {
                out.push(*first);
                at += 1;
            }
            [] => {}
        }
    }
    out
}

/// A rule without the directory stays as it is. In others nothing but the directory and line breaks is lost, nothing is
/// added, and no name that the directory began is left.
pub fn dependencies(text: &[u8]) {
    let cleaned = clean_dependencies(text, ROOT);
    if count(text, ROOT) == 0 {
        assert_eq!(cleaned, text);
    }
    // Line breaks move; a name that is broken there has a backslash more or less.
    let (before, after) = (names(text), names(&cleaned));
    let removed = before.len().checked_sub(after.len()).expect("something was added");
    assert_eq!(removed % ROOT.len(), 0, "{} became {}", text.escape_ascii(), cleaned.escape_ascii());
    assert!(removed / ROOT.len() <= count(&before, ROOT));
    let without = |text: &[u8]| {
        let mut text = text.to_vec();
        while let Some(at) = text.windows(ROOT.len()).position(|part| part == ROOT) {
            text.drain(at..at + ROOT.len());
        }
        text
    };
    assert_eq!(without(&before), without(&after));
    // The simple case, as every compiler writes it.
    let simple = text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b' '));
    if simple {
        let rule = [b"a.o: ", text, b"\n"].concat();
        let cleaned = clean_dependencies(&rule, ROOT);
        let expected = rule[5..rule.len() - 1].split(|byte| *byte == b' ').filter(|name| !name.is_empty());
        let expected = expected.map(|name| match name.strip_prefix(ROOT) {
            Some(rest) if rest.starts_with(b"/") => rest,
            _ => name,
        });
        let found = cleaned[4..].split(|byte| byte.is_ascii_whitespace());
        let found = found.filter(|name| !name.is_empty() && *name != b"\\");
        assert!(expected.eq(found), "{}", cleaned.escape_ascii());
    }
    let _ = PathMaps::of_macros(text);
}

/// Messages lose the directory, and nothing else; a text for one line is one line and moves no cursor.
pub fn messages(text: &[u8]) {
    let cleaned = clean_messages(text, ROOT);
    if count(text, ROOT) == 0 {
        assert_eq!(cleaned, text);
    }
    // What is left of a name is a name: at each place the text goes on as it did.
    let (mut before, mut after) = (text, cleaned.as_slice());
    while !before.is_empty() {
        match before.strip_prefix(ROOT) {
            Some(rest) if rest.starts_with(b"/") => before = rest,
            Some(rest)
                if !rest
                    .first()
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)) =>
            {
                after = after.strip_prefix(b"/").expect("the root itself becomes /");
                before = rest;
            }
            Some(rest) => {
                after = after.strip_prefix(ROOT).expect("another directory stays");
                before = rest;
            }
            None => {
                assert_eq!(before.first(), after.first());
                (before, after) = (&before[1..], &after[1..]);
            }
        }
    }
    assert!(after.is_empty());
    let text = String::from_utf8_lossy(text);
    let line = one_line(&text);
    assert!(!line.chars().any(char::is_control));
    assert!(text.chars().any(char::is_control) || line == text);
}

/// Nothing is changed but places where the name was, nothing moves, and the counts are true. What is no ELF file is not
/// changed at all.
pub fn elf(object: &[u8]) {
    let root = if object.len().is_multiple_of(4) { b"/R".as_slice() } else { b"/tmp/distccd_1a2b3c4d" };
    let mut patched = object.to_vec();
    let outcome = hide_root(&mut patched, root);
    assert_eq!(patched.len(), object.len());
    let (mut at, mut replaced) = (0, 0);
    while at < object.len() {
        if object[at] == patched[at] {
            at += 1;
            continue;
        }
        // The first byte is a slash both before and after: the place begins one earlier.
        let start = at - 1;
        assert_eq!(&object[start..][..root.len()], root, "something else was changed at {start}");
        assert!(patched[start..][..root.len()].iter().all(|byte| *byte == b'/'));
        at = start + root.len();
        replaced += 1;
    }
    assert_eq!(outcome.replaced, replaced);
    assert!(object.starts_with(b"\x7fELF") || replaced == 0);
    let (mut at, mut remaining) = (0, 0);
    while let Some(found) = patched[at..].windows(root.len()).position(|part| part == root) {
        at += found + root.len();
        remaining += 1;
    }
    assert_eq!(outcome.remaining, remaining);
}

/// A text in which the time of day has a name is not sent gathered; diagnostics that were said are not said again, and
/// what is said was there, in its order. The input is the diagnostics of one side, a NUL byte, those of the other.
pub fn gathered(bytes: &[u8]) {
    let faithful = is_faithful(bytes);
    for name in [b"__DATE__".as_slice(), b"__TIME__", b"__TIMESTAMP__"] {
        assert!(!faithful || count(bytes, name) == 0);
    }
    assert!(!faithful || count(bytes, b"#line") == 0);
    let innocent = !bytes.iter().any(|byte| matches!(byte, b'_' | b'#'));
    assert!(faithful || !innocent);
    assert!(!is_about_gathering(bytes) || bytes.contains(&b'#'));
    let mut sides = bytes.splitn(2, |byte| *byte == 0);
    let (here, there) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
    assert!(unrepeated(here, here).is_empty());
    let rest = unrepeated(here, there);
    assert!(rest.len() <= here.len());
    let lines = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    // Only the last line may lack its end, and then two lines may have become one.
    if here.is_empty() || here.ends_with(b"\n") {
        let here = lines(here);
        assert!(lines(&rest).iter().all(|line| here.contains(line)));
    }
    assert!(unrepeated(here, here).is_empty());
}

/// One directory for all runs of a process.
static STATE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = PathBuf::from("/dev/shm");
    let parent = if shared.is_dir() { shared } else { std::env::temp_dir() };
    let path = parent.join(format!("distcc_fuzz_state_{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("make a directory for state files");
    path
});

/// What monitors of 3.4 read is there, whatever the names are: 296 bytes, each name ended by a NUL byte in its field.
pub fn state_file(bytes: &[u8]) {
    const PHASES: [Phase; 8] = [
        Phase::Startup,
        Phase::Blocked,
        Phase::Connect,
        Phase::Preprocess,
        Phase::Send,
        Phase::Compile,
        Phase::Receive,
        Phase::Done,
    ];
    let Some((choice, names)) = bytes.split_first() else { return };
    let middle = names.iter().position(|byte| *byte == b'\n').unwrap_or(names.len());
    let (source, host) = names.split_at(middle);
    let (source, host) = (OsStr::from_bytes(source), String::from_utf8_lossy(host));
    let phase = PHASES[usize::from(choice % 8)];
    let mut state = StateFile::new(source);
    state.open(&STATE);
    // A longer name first: nothing of it may be left.
    state.set(Phase::Startup, &"x".repeat(200), u32::MAX);
    state.set(phase, &host, u32::from(*choice));
    let path = STATE.join(format!("binstate_{}", std::process::id()));
    let record = std::fs::read(&path).expect("read the state file");
    drop(state);
    assert!(!path.exists());
    assert_eq!(record.len(), STATE_BYTES);
    let field = |at: usize| {
        let field = &record[at..at + 128];
        let end = field.iter().position(|byte| *byte == 0).expect("a name has an end");
        assert!(field[end..].iter().all(|byte| *byte == 0) || field[..end].len() < 128);
        field[..end].to_vec()
    };
    let cut = |name: &[u8]| {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        name[..name.len().min(127)].to_vec()
    };
    let base = std::path::Path::new(source).file_name().unwrap_or(source);
    assert_eq!(field(24), cut(base.as_bytes()));
    assert_eq!(field(152), cut(host.as_bytes()));
    assert_eq!(record[280..284], u32::from(*choice).to_ne_bytes());
    assert_eq!(record[284..288], (phase as u32).to_ne_bytes());
}
