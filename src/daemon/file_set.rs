//! The files of a pump job as they came: names and bodies still compressed, in memory while they are few, else in a
//! nameless file; and how they become a tree.
//!
//! Knows paths and bytes; nothing of the protocol's order or of the compiler.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::allowance::{Pool, Pools, Share};
use crate::daemon::patron::Patron;
use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;
use crate::protocol::ProtocolError;
use crate::protocol::lzo::{self, LzoError};
use crate::protocol::surroundings::{self, FileTime};
use crate::sys::job_root::{self, Unpacker};
use crate::sys::temp;

/// Bodies of one job that are kept in memory, in bytes as they travel: twenty jobs of usual size. The rest of a
/// larger one is worth a file.
const MEMORY_BYTES_MAX: usize = 4 << 20;
/// The files of one job after unpacking, in bytes. They are unpacked into memory (tmpfs), of which the compiler will
/// need more than they do.
pub const UNPACKED_BYTES_MAX: u64 = 512 << 20;
/// Names and link targets of one job together, in bytes: as many files as a request may have, at 256 bytes each.
const NAMES_BYTES_MAX: usize = 16 << 20;
/// Directories that the names of one job may need. Each costs a kilobyte of the kernel's memory, however short its
/// name.
const DIRECTORIES_MAX: u64 = 1 << 16;
/// How long unpacking may take: thousands of times what a large job needs. Names that lead through many links are as short
/// as others and take a thousand times as long.
const UNPACK_TIME_MAX: Duration = Duration::from_secs(20);
/// What a file takes beside its content, whole pages of it, in bytes: its inode and its name.
const FILE_BYTES: u64 = 1 << 10;
/// A page of memory.
const PAGE_BYTES: usize = 4 << 10;
/// How programs and libraries begin. Where a job has files among this machine's, a loader would find them there.
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// How much of a buffer a thread keeps for the next job, in bytes: a large header. All threads will have met the largest
/// file there is one day, and keep so much of it for good.
const BUFFER_KEPT_BYTES: usize = 256 << 10;

/// The files, in the order in which they came.
#[derive(Debug)]
pub struct FileSet {
    entries: Vec<Entry>,
    /// Each entry's name, and after it a link's target.
    names: Vec<u8>,
    last_name_start: usize,
    directories: u64,
    bodies: Vec<u8>,
    /// Where the bodies are, once they are too many, and how many bytes of them.
    file: Option<(File, u64)>,
    share: Share,
    spool: Share,
    patron: Patron,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name_bytes: u32,
    content: Content,
}

/// What an entry is, with its length in bytes.
#[derive(Clone, Copy, Debug)]
enum Content {
    File(u32),
    Link(u32),
}

/// What becomes of links to absolute paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are true where the tree is the root. This machine's system directories are there already, so links to
    /// them are left out.
    AsSent,
    /// The tree is below another root: they are made relative, and lead to the same place of the tree. But system
    /// directories are this machine's.
    Relative,
}

/// Memory for unpacking that a thread uses again and again.
#[derive(Debug, Default)]
pub struct Buffers {
    packed: Vec<u8>,
    plain: Vec<u8>,
}

impl FileSet {
    /// No files yet, of a job for this client.
    pub fn new(patron: Patron) -> FileSet {
        FileSet {
            entries: Vec::new(),
            names: Vec::new(),
            last_name_start: 0,
            directories: 0,
            bodies: Vec::new(),
            file: None,
            share: Share::of(&patron),
            spool: Share::of(&patron),
            patron,
        }
    }

    /// Whom they are unpacked for.
    pub fn patron(&self) -> &Patron {
        &self.patron
    }

    /// Begins a file, whose body of so many bytes will be appended.
    pub fn begin_file(&mut self, name: &[u8], bytes: u32, pools: &Pools) -> Result<(), Refusal> {
        self.add_entry(name, b"", Content::File(bytes), pools)
    }

    /// Adds a link.
    pub fn add_link(&mut self, name: &[u8], target: &[u8], pools: &Pools) -> Result<(), Refusal> {
        // A path is far shorter than 4 GiB.
        self.add_entry(name, target, Content::Link(target.len() as u32), pools)
    }

    fn add_entry(
        &mut self,
        name: &[u8],
        target: &[u8],
        content: Content,
        pools: &Pools,
    ) -> Result<(), Refusal> {
        check_name(name)?;
        let last = self.entries.last().map_or(0, |entry| entry.name_bytes as usize);
        let last = &self.names[self.last_name_start..self.last_name_start + last];
        self.directories += new_directories(last, name);
        let names_bytes = self.names.len() + name.len() + target.len();
        if self.directories > DIRECTORIES_MAX || names_bytes > NAMES_BYTES_MAX {
            let text = format!(
                "bad request: the files' names are beyond the limits of {NAMES_BYTES_MAX} bytes and \
                 {DIRECTORIES_MAX} directories"
            );
            return Err(Refusal::new(ExitCode::OutOfMemory, text));
        }
        self.last_name_start = self.names.len();
        self.names.extend_from_slice(name);
        self.names.extend_from_slice(target);
        self.entries.push(Entry { name_bytes: name.len() as u32, content });
        Ok(self.share.grow_to(self.held(), &pools.memory)?)
    }

    /// Memory it takes, in bytes.
    fn held(&self) -> u64 {
        (self.names.capacity() + self.entries.capacity() * size_of::<Entry>() + self.bodies.capacity()) as u64
    }

    /// Appends a part of the file begun last.
    pub fn append(&mut self, part: &[u8], temporary: &Path, pools: &Pools) -> Result<(), Refusal> {
        if self.file.is_some() {
            return self.spool(part, pools);
        }
        let needed = self.bodies.len() + part.len();
        let room = if needed <= self.bodies.capacity() { 0 } else { needed.max(2 * self.bodies.capacity()) };
        if needed <= MEMORY_BYTES_MAX && self.share.grow_to(self.held() + room as u64, &pools.memory).is_ok()
        {
            self.bodies.reserve_exact(room.saturating_sub(self.bodies.len()));
            self.bodies.extend_from_slice(part);
            return Ok(());
        }
        let file = temp::nameless_file(temporary).map_err(|error| Refusal::temporary_file("make", &error))?;
        self.file = Some((file, 0));
        let bodies = std::mem::take(&mut self.bodies);
        self.spool(&bodies, pools)?;
        self.spool(part, pools)
    }

    /// Writes to the file.
    fn spool(&mut self, part: &[u8], pools: &Pools) -> Result<(), Refusal> {
        let (file, bytes) = self.file.as_mut().expect("BUG: there is no file to write to");
        self.spool.grow_to(*bytes + part.len() as u64, &pools.spool)?;
        file.write_all(part).map_err(|error| Refusal::temporary_file("write", &error))?;
        *bytes += part.len() as u64;
        Ok(())
    }

    /// How many inodes the tree may need.
    pub fn inodes(&self) -> u64 {
        self.entries.len() as u64 + self.directories
    }

    /// Makes the tree. `times` are those of the files in order, as far as they were sent; what is unpacked counts
    /// against `share`.
    pub fn unpack(
        &self,
        times: &[FileTime],
        links: Links,
        unpacker: &mut Unpacker<'_>,
        buffers: &mut Buffers,
        share: &mut Share,
        pool: &Pool,
    ) -> Result<(), Refusal> {
        let (mut name_at, mut body_at, mut unpacked) = (0, 0u64, 0u64);
        let mut taken = (self.entries.len() as u64 + self.directories) * FILE_BYTES;
        let give_up = Instant::now() + UNPACK_TIME_MAX;
        let mut times = times.iter();
        for entry in &self.entries {
            if self.patron.has_left() {
                return Err(Refusal::new(ExitCode::IoError, "the client has left"));
            }
            if Instant::now() >= give_up {
                let text = format!("unpacking the files takes more than {} s", UNPACK_TIME_MAX.as_secs());
                return Err(Refusal::new(ExitCode::OutOfMemory, text));
            }
            let name = &self.names[name_at..name_at + entry.name_bytes as usize];
            name_at += name.len();
            match entry.content {
                Content::Link(bytes) => {
                    let target = &self.names[name_at..name_at + bytes as usize];
                    name_at += target.len();
                    if links == Links::AsSent && (is_tool(name) || is_order(name)) {
                        return Err(no_program(name));
                    }
                    make_link(name, target, links, unpacker).map_err(|error| refused(name, &error))?;
                }
                Content::File(bytes) => {
                    let time = times.next().map(|time| job_root::FileTime {
                        seconds: time.seconds,
                        nanoseconds: time.nanoseconds,
                    });
                    let left = UNPACKED_BYTES_MAX - unpacked;
                    let content =
                        self.body(body_at, bytes, left, buffers).map_err(|fault| fault.refusal(name))?;
                    body_at += u64::from(bytes);
                    if links == Links::AsSent && (content.starts_with(ELF_MAGIC) || is_order(name)) {
                        return Err(no_program(name));
                    }
                    unpacked += content.len() as u64;
                    taken += content.len().next_multiple_of(PAGE_BYTES) as u64;
                    share.grow_to(taken, pool)?;
                    unpacker.create_file(name, content, time).map_err(|error| refused(name, &error))?;
                }
            }
        }
        Ok(())
    }

    fn body<'a>(
        &'a self,
        at: u64,
        bytes: u32,
        limit: u64,
        buffers: &'a mut Buffers,
    ) -> Result<&'a [u8], Fault> {
        if bytes == 0 {
            return Ok(&[]);
        }
        let packed = match &self.file {
            None => {
                let start = usize::try_from(at).expect("BUG: a body beyond memory");
                &self.bodies[start..start + bytes as usize]
            }
            Some((file, _)) => {
                buffers.packed.resize(bytes as usize, 0);
                file.read_exact_at(&mut buffers.packed, at).map_err(Fault::Spool)?;
                &buffers.packed
            }
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        lzo::decompress_into(packed, limit, &mut buffers.plain).map_err(Fault::Lzo)
    }
}

impl Buffers {
    /// Gives back what few jobs need.
    pub fn shrink(&mut self) {
        for buffer in [&mut self.packed, &mut self.plain] {
            buffer.truncate(BUFFER_KEPT_BYTES);
            buffer.shrink_to(BUFFER_KEPT_BYTES);
        }
    }
}

/// Why a body cannot be had.
enum Fault {
    Spool(io::Error),
    Lzo(LzoError),
}

impl Fault {
    fn refusal(self, name: &[u8]) -> Refusal {
        let name = String::from_utf8_lossy(name);
        match self {
            Fault::Spool(error) => Refusal::temporary_file("read", &error),
            Fault::Lzo(error) => {
                let code = ProtocolError::from(error).exit_code();
                Refusal::new(code, format!("bad request: {name}: {error}"))
            }
        }
    }
}

/// What a name must be that comes from a peer: an absolute path that cannot climb.
fn check_name(name: &[u8]) -> Result<(), Refusal> {
    let why = if !name.starts_with(b"/") {
        "is not absolute"
    } else if name.split(|byte| *byte == b'/').any(|part| part == b"..") {
        "holds `..`"
    } else {
        return Ok(());
    };
    let text = format!("bad request: the file name {} {why}", String::from_utf8_lossy(name));
    Err(Refusal::new(ExitCode::ProtocolError, text))
}

/// Whether gcc would take its rules from a file of this name, commands to run among them, if it stood beside gcc's own
/// or in a directory of `-B`.
fn is_order(name: &[u8]) -> bool {
    name.ends_with(b"/specs")
}

/// Whether gcc or clang would run what a link of this name leads to, in the same places. Files are not executable.
fn is_tool(name: &[u8]) -> bool {
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let tools: [&[u8]; 5] = [b"as", b"objcopy", b"collect2", b"lto-wrapper", b"ld"];
    base.starts_with(b"cc1") || base.ends_with(b"-as") || base.ends_with(b"-objcopy") || tools.contains(&base)
}

fn no_program(name: &[u8]) -> Refusal {
    let text = format!(
        "{} could make a compiler run code of the client's choice; send it preprocessed",
        String::from_utf8_lossy(name)
    );
    Refusal::new(ExitCode::DistccFailed, text)
}

/// How many directories a name needs beyond those of the one before.
fn new_directories(before: &[u8], name: &[u8]) -> u64 {
    let same = before.iter().zip(name).take_while(|(one, other)| one == other).count();
    // What they share may end inside a component, whose directory is counted with its slash.
    name[same..].iter().filter(|byte| **byte == b'/').count() as u64
}

/// Whether a link is 3.4's way to name a system directory of the server's: its own path, from far below the root.
fn is_system_link(name: &[u8], target: &[u8]) -> bool {
    let mut rest = target;
    while let Some(above) = rest.strip_prefix(b"../") {
        rest = above;
    }
    rest.len() < target.len() && name.strip_prefix(b"/").is_some_and(|path| !path.is_empty() && path == rest)
}

fn make_link(name: &[u8], target: &[u8], links: Links, unpacker: &mut Unpacker<'_>) -> io::Result<()> {
    match links {
        Links::AsSent if is_system_link(name, target) => Ok(()),
        Links::Relative if is_system_link(name, target) => {
            // Where the job has files of its own below it, those are what counts.
            let _ = unpacker.create_link(name, name);
            Ok(())
        }
        Links::Relative if target.starts_with(b"/") => {
            let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
            let mut relative = b"./".to_vec();
            relative.extend(parts.skip(1).flat_map(|_| *b"../"));
            let below = target.iter().position(|byte| *byte != b'/').unwrap_or(target.len());
            relative.extend_from_slice(&target[below..]);
            unpacker.create_link(name, &relative)
        }
        Links::AsSent | Links::Relative => unpacker.create_link(name, target),
    }
}

fn refused(name: &[u8], error: &io::Error) -> Refusal {
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => ExitCode::OutOfMemory,
        // What is left are names that contradict each other or lead nowhere.
        _ => ExitCode::ProtocolError,
    };
    Refusal::new(code, format!("unpack {} on the server: {error}", String::from_utf8_lossy(name)))
}

/// Whether a name belongs to the surroundings of the job, not to its files.
pub fn is_about_the_job(name: &[u8]) -> bool {
    name.starts_with(surroundings::PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::lzo::Compressor;
    use crate::sys::job_root::JobRoot;
    use crate::sys::temp::TempDir;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn directory() -> TempDir {
        TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap()
    }

    fn add(files: &mut FileSet, name: &str, content: &[u8], pools: &Pools) -> Result<(), Refusal> {
        let body = if content.is_empty() { Vec::new() } else { Compressor::new().compress(content) };
        files.begin_file(name.as_bytes(), body.len() as u32, pools)?;
        for part in body.chunks(1000) {
            files.append(part, &std::env::temp_dir(), pools).unwrap();
        }
        Ok(())
    }

    /// As much of everything; enough disk.
    fn pools(bytes: u64) -> Pools {
        Pools::new(bytes, bytes, 1 << 30)
    }

    fn unpack(files: &FileSet, root: &Path, links: Links, trees: &Pool) -> Result<(), Refusal> {
        let root = JobRoot::of_directory(root).unwrap();
        let times = [FileTime { seconds: 1_000_000_000, nanoseconds: 7 }];
        let (mut buffers, mut share) = (Buffers::default(), Share::of(files.patron()));
        files.unpack(&times, links, &mut root.unpacker(), &mut buffers, &mut share, trees)
    }

    #[test]
    fn files_come_back_from_memory_and_from_the_disk() {
        let noise: Vec<u8> = (0..300_000u64)
            .map(|number| (number.pow(3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8)
            .collect();
        for bytes in [1 << 30, 100 << 10] {
            let memory = pools(bytes);
            let mut files = FileSet::new(Patron::default());
            add(&mut files, "/p/a.c", b"int a;", &memory).unwrap();
            add(&mut files, "/p/sub/noise", &noise, &memory).unwrap();
            add(&mut files, "/p/empty", b"", &memory).unwrap();
            files.add_link(b"/p/link", b"/p/sub", &memory).unwrap();
            files.add_link(b"/usr/include", b"../../../../usr/include", &memory).unwrap();
            assert_eq!(files.file.is_some(), bytes == 100 << 10);
            let dir = directory();
            unpack(&files, dir.path(), Links::AsSent, &pools(1 << 30).trees).unwrap();
            let at = |name: &str| dir.path().join(name);
            assert_eq!(fs::read(at("p/a.c")).unwrap(), b"int a;");
            let metadata = fs::metadata(at("p/a.c")).unwrap();
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 7));
            assert_eq!(fs::read(at("p/sub/noise")).unwrap(), noise);
            assert_eq!(fs::read(at("p/empty")).unwrap(), b"");
            assert_eq!(fs::read_link(at("p/link")).unwrap(), Path::new("/p/sub"));
            assert!(!at("usr").exists());
            let below = directory();
            unpack(&files, below.path(), Links::Relative, &pools(1 << 30).trees).unwrap();
            assert_eq!(fs::read(below.path().join("p/link/noise")).unwrap(), noise);
            assert_eq!(fs::read_link(below.path().join("usr/include")).unwrap(), Path::new("/usr/include"));
        }
    }

    #[test]
    fn memory_is_given_back() {
        let (memory, trees) = (pools(1 << 20), pools(1 << 20).trees);
        let content = vec![b'x'; 1 << 20];
        for _ in 0..4 {
            let mut files = FileSet::new(Patron::default());
            add(&mut files, "/a", &content, &memory).unwrap();
            unpack(&files, directory().path(), Links::AsSent, &trees).unwrap();
        }
        let mut files = FileSet::new(Patron::default());
        add(&mut files, "/a", &content, &memory).unwrap();
        add(&mut files, "/b", &content, &memory).unwrap();
        let refusal = unpack(&files, directory().path(), Links::AsSent, &trees).unwrap_err();
        assert_eq!(refusal.code, ExitCode::OutOfMemory);
    }

    #[test]
    fn nothing_is_unpacked_for_a_client_that_has_left() {
        let patron = Patron::default();
        let mut files = FileSet::new(patron.clone());
        add(&mut files, "/a", b"int a;", &pools(1 << 20)).unwrap();
        patron.leave();
        let dir = directory();
        let refusal = unpack(&files, dir.path(), Links::AsSent, &pools(1 << 20).trees).unwrap_err();
        assert!(refusal.reason.contains("has left"), "{refusal}");
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn what_goes_to_the_disk_is_counted() {
        let pools = Pools::new(0, 0, 1 << 20);
        let mut files = FileSet::new(Patron::default());
        files.begin_file(b"/a", 3 << 20, &pools).unwrap();
        let mut append =
            |kibibytes: usize| files.append(&vec![b'x'; kibibytes << 10], &std::env::temp_dir(), &pools);
        append(64).unwrap();
        append(1024).unwrap();
        let refusal = append(1).unwrap_err();
        assert!(refusal.reason.contains("--spool"), "{refusal}");
        drop(files);
        let mut files = FileSet::new(Patron::default());
        files.begin_file(b"/a", 1 << 20, &pools).unwrap();
        files.append(&vec![b'x'; 1 << 20], &std::env::temp_dir(), &pools).unwrap();
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let memory = pools(1 << 30);
        for name in ["a", "", "../a", "/a/../../b", "/..", "/a/.."] {
            let refusal = add(&mut FileSet::new(Patron::default()), name, b"", &memory).unwrap_err();
            assert!(refusal.reason.contains("bad request: the file name"), "{name}: {refusal}");
        }
        for (one, other) in [("/a", "/a/b"), ("/d/e", "/d")] {
            let mut files = FileSet::new(Patron::default());
            add(&mut files, one, b"1", &memory).unwrap();
            add(&mut files, other, b"2", &memory).unwrap();
            let refusal = unpack(&files, directory().path(), Links::AsSent, &memory.trees).unwrap_err();
            assert!(refusal.reason.starts_with(&format!("unpack {other} on the server: ")), "{refusal}");
        }
    }

    #[test]
    fn names_and_directories_are_counted_before_they_cost() {
        let memory = pools(1 << 30);
        let deep = "/x".repeat(2000);
        let mut files = FileSet::new(Patron::default());
        let refusal =
            (0..FILES).find_map(|number| add(&mut files, &format!("/{number}{deep}"), b"", &memory).err());
        assert_eq!(refusal.unwrap().code, ExitCode::OutOfMemory);
        assert!(files.directories <= DIRECTORIES_MAX + 2001);
        let (mut files, little) = (FileSet::new(Patron::default()), pools(0));
        let refusal =
            (0..FILES).find_map(|number| add(&mut files, &format!("/{number}"), b"", &little).err());
        assert_eq!(refusal.unwrap().code, ExitCode::OutOfMemory);
        assert!(files.entries.len() < 20_000, "{}", files.entries.len());
    }

    /// As many as a request may have.
    const FILES: u32 = 1 << 16;

    #[test]
    fn directories_are_those_that_are_new() {
        for (before, name, expected) in [
            ("", "/a", 1),
            ("", "/a/b/c", 3),
            ("/a/b/c", "/a/b/d", 0),
            ("/a/b/c", "/a/x/d", 1),
            ("/ab/c", "/a/c", 1),
        ] {
            assert_eq!(new_directories(before.as_bytes(), name.as_bytes()), expected, "{before} {name}");
        }
    }

    #[test]
    fn system_links_are_known_by_their_form() {
        for (name, target, expected) in [
            ("/usr/include", "../../../usr/include", true),
            ("/usr/include", "../usr/include", true),
            ("/usr/include", "/usr/include", false),
            ("/usr/include", "usr/include", false),
            ("/usr/include", "../../usr/lib", false),
            ("/", "../", false),
        ] {
            assert_eq!(is_system_link(name.as_bytes(), target.as_bytes()), expected, "{name} {target}");
        }
    }
}
