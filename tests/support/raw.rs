//! The server's side of a sandbox, spoken to with raw bytes. Knows the protocol from its description, not from the
//! code under test (LZO apart).
//!
//! The compiler `cc` in such a place is a shell script that runs its *source* as a script, so that each job brings
//! its own behaviour along: `$out` is the object's name, `$argv` the command, `$marks` a directory that test and
//! compiler share.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use distcc::protocol::lzo;

#[allow(unused_imports, reason = "each test program uses a part of this")]
pub use crate::support::is_root;
use crate::support::{self, DaemonBuilder, PATIENCE, Sandbox, tree_of, wait_until};

/// "At once", on a busy machine; below the second that distcc 3.4 takes for many things.
pub const SOON: Duration = Duration::from_millis(700);

/// The compiler, without its first line.
const COMPILER: &str = "argv=\"$0 $*\" out= src= marks='@MARKS@'
while [ $# -gt 0 ]; do
    case $1 in
        -o) out=$2; shift ;;
        *.i|*.ii|*.mi|*.mii) src=$1 ;;
    esac
    shift
done
. \"$src\"
";

/// A sandbox with compilers for its daemons.
pub struct Place {
    pub sandbox: Sandbox,
}

impl Place {
    pub fn new() -> Place {
        let place = Place { sandbox: Sandbox::new() };
        for (directory, mode) in [("compilers", 0o755), ("marks", 0o777)] {
            fs::create_dir(place.path(directory)).unwrap();
            fs::set_permissions(place.path(directory), PermissionsExt::from_mode(mode)).unwrap();
        }
        let compiler = COMPILER.replace("@MARKS@", place.path("marks").to_str().unwrap());
        place.sandbox.script("compilers/cc", &compiler);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// Where this place's daemons find compilers.
    pub fn search_path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.path("compilers").display())
    }

    /// What a daemon that is started otherwise needs for this place's compiler: it is a script and leaves marks.
    pub fn script_options(&self) -> [String; 2] {
        let script = self.path("compilers/cc");
        ["--sandbox=off".into(), format!("--allow-script={}", script.display())]
    }

    /// A daemon, not yet started. Its compilers are scripts and leave marks outside their jobs.
    pub fn daemon(&self) -> DaemonBuilder {
        self.confined_daemon().args(["--sandbox=off"])
    }

    /// The same with the sandbox that every daemon has, for compilers that stay in their jobs.
    pub fn confined_daemon(&self) -> DaemonBuilder {
        self.sandbox.daemon().env("PATH", self.search_path())
    }

    /// A daemon with these options.
    pub fn start(&self, options: &[&str]) -> Daemon {
        Daemon::start(self.daemon().args(options))
    }

    pub fn mark(&self, name: &str) -> PathBuf {
        self.path("marks").join(name)
    }

    /// Waits until a compiler has left this mark, a whole line, and reads it.
    #[track_caller]
    pub fn wait_for_mark(&self, name: &str) -> String {
        let read = || fs::read_to_string(self.mark(name)).unwrap_or_default();
        wait_until(&format!("mark {name}"), || read().ends_with('\n'));
        read().trim().to_owned()
    }

    /// The process id that a compiler has left.
    #[track_caller]
    pub fn wait_for_pid(&self, name: &str) -> u32 {
        self.wait_for_mark(name).parse().unwrap()
    }

    /// Ends the daemon by SIGTERM, and fails if anything is left of it or its jobs.
    #[track_caller]
    pub fn finish(self, mut daemon: Daemon) {
        let status = daemon.guard.stop();
        assert_eq!(daemon.guard.ended_by(), Some(15), "{status}: {}", daemon.guard.log());
        self.sandbox.finish([]);
    }
}

/// A daemon that runs.
pub struct Daemon {
    pub guard: support::Daemon,
    pub address: SocketAddr,
}

impl Daemon {
    #[track_caller]
    pub fn start(builder: DaemonBuilder) -> Daemon {
        let guard = builder.start();
        let address = guard.host().parse().unwrap();
        Daemon { guard, address }
    }

    /// What it has in memory of its own, in kB: not its program, not files it shares.
    pub fn own_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.guard.id()
    }

    /// The lines of the log with these words.
    pub fn lines_with(&self, words: &str) -> Vec<String> {
        // A line that is being written is not there yet.
        let log = self.guard.log();
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.filter(|line| line.contains(words)).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits for at least so many of them.
    #[track_caller]
    pub fn wait_for_lines(&self, words: &str, count: usize) -> Vec<String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let found = self.lines_with(words);
            if found.len() >= count {
                return found;
            }
            let log = self.guard.log();
            assert!(Instant::now() < give_up, "{} of {count} lines with {words:?} in: {log}", found.len());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A job's summary line, from `client:` on; `before` jobs were summarised earlier.
    #[track_caller]
    pub fn summary(&self, before: usize) -> String {
        let lines = self.wait_for_lines("(dcc_job_summary)", before + 1);
        lines[before].split("(dcc_job_summary) ").nth(1).unwrap().to_owned()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends a request and reads the answer.
    pub fn ask(&self, request: &[u8]) -> io::Result<Reply> {
        ask(self.address, request)
    }

    /// Does a job that must be done, quickly.
    #[track_caller]
    pub fn assert_serves(&self) {
        let began = Instant::now();
        let reply = self.ask(&job("printf honest >$out"));
        let reply = reply.unwrap_or_else(|error| panic!("an honest job: {error}: {}", self.guard.log()));
        assert_eq!((reply.status, reply.object.as_slice()), (0, b"honest".as_slice()), "{reply:?}");
        assert!(began.elapsed() < SOON, "an honest job took {:?}", began.elapsed());
    }

    /// The daemon is the one that was started, serves, and holds no files.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        assert!(is_alive(self.pid()), "the daemon is gone: {}", self.guard.log());
        self.assert_serves();
        wait_until("an empty TMPDIR", || tree_of(self.guard.temporary()).0.is_empty());
    }
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[track_caller]
pub fn wait_for_end(pid: u32) {
    wait_until(&format!("the end of process {pid}"), || !is_alive(pid));
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    let mut stream = connect(address);
    stream.write_all(request)?;
    read_reply(&mut stream)
}

/// A connection from an address of our choice: all of 127.0.0.0/8 is ours.
pub fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{from}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A job from there, to print `x`.
pub fn ask_from(from: &str, to: SocketAddr, version: usize) -> Reply {
    let mut stream = connect_from(from, to);
    let bytes = request(version, &["cc", "-c", "a.c"], b"printf x >$out\n");
    stream.write_all(&bytes).unwrap();
    read_reply(&mut stream).unwrap()
}

pub fn packet(token: &str, number: usize, body: &[u8]) -> Vec<u8> {
    [format!("{token}{number:08x}").as_bytes(), body].concat()
}

pub fn body(token: &str, body: &[u8]) -> Vec<u8> {
    packet(token, body.len(), body)
}

/// A request of version 1 or 2, up to the source.
pub fn request_head(version: usize, argv: &[&str]) -> Vec<u8> {
    let mut bytes = packet("DIST", version, b"");
    bytes.extend(packet("ARGC", argv.len(), b""));
    argv.iter().for_each(|word| bytes.extend(body("ARGV", word.as_bytes())));
    bytes
}

pub fn request(version: usize, argv: &[&str], source: &[u8]) -> Vec<u8> {
    let mut bytes = request_head(version, argv);
    match (version, source) {
        (2, [_, ..]) => bytes.extend(body("DOTI", &lzo::Compressor::new().compress(source))),
        _ => bytes.extend(body("DOTI", source)),
    }
    bytes
}

/// A request for the place's compiler to do what the script says.
pub fn job(script: &str) -> Vec<u8> {
    request(1, &["cc", "-c", "hello.c", "-o", "hello.o"], format!("{script}\n").as_bytes())
}

/// A request of version 3.
#[derive(Clone)]
pub struct PumpRequest {
    head: Vec<u8>,
    entries: Vec<Vec<u8>>,
}

impl PumpRequest {
    pub fn new(directory: &str, argv: &[impl AsRef<str>]) -> PumpRequest {
        let mut head = packet("DIST", 3, b"");
        head.extend(body("CDIR", directory.as_bytes()));
        head.extend(packet("ARGC", argv.len(), b""));
        argv.iter().for_each(|word| head.extend(body("ARGV", word.as_ref().as_bytes())));
        PumpRequest { head, entries: Vec::new() }
    }

    /// Adds an entry with this body, as it is.
    pub fn packed(mut self, name: &str, content: &[u8]) -> PumpRequest {
        self.entries.push([body("NAME", name.as_bytes()), body("FILE", content)].concat());
        self
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> PumpRequest {
        let content = lzo::Compressor::new().compress(content.as_ref());
        self.packed(name, &content)
    }

    pub fn link(mut self, name: &str, target: &str) -> PumpRequest {
        self.entries.push([body("NAME", name.as_bytes()), body("LINK", target.as_bytes())].concat());
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &packet("NFIL", self.entries.len(), b""), &self.entries.concat()].concat()
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub version: u32,
    pub status: u32,
    pub stderr: String,
    pub stdout: Vec<u8>,
    pub object: Vec<u8>,
    /// Of version 3, after a success.
    pub dependencies: Vec<u8>,
}

impl Reply {
    /// distcc's own code, if the server refused the job.
    pub fn refusal(&self) -> Option<u32> {
        (self.status >= 100 << 8 && self.status <= 120 << 8).then_some(self.status >> 8)
    }
}

fn read_number(stream: &mut impl Read, token: &str) -> io::Result<u32> {
    let mut header = [0; 12];
    stream.read_exact(&mut header)?;
    let header = std::str::from_utf8(&header).unwrap();
    assert_eq!(&header[..4], token);
    assert_eq!(header[4..], header[4..].to_ascii_lowercase(), "old peers write lower case");
    Ok(u32::from_str_radix(&header[4..], 16).unwrap())
}

fn read_body(stream: &mut impl Read, token: &str, version: u32) -> io::Result<Vec<u8>> {
    let mut body = vec![0; read_number(stream, token)? as usize];
    stream.read_exact(&mut body)?;
    if version >= 2 && !body.is_empty() {
        body = lzo::decompress(&body, 1 << 30).unwrap();
    }
    Ok(body)
}

/// Reads a whole answer, after which the server must close.
pub fn read_reply(stream: &mut impl Read) -> io::Result<Reply> {
    let version = read_number(stream, "DONE")?;
    let status = read_number(stream, "STAT")?;
    let mut reply = Reply {
        version,
        status,
        stderr: text(&read_body(stream, "SERR", version)?),
        stdout: read_body(stream, "SOUT", version)?,
        object: read_body(stream, "DOTO", version)?,
        dependencies: Vec::new(),
    };
    if version == 3 && status == 0 {
        reply.dependencies = read_body(stream, "DOTD", version)?;
    }
    Ok(reply)
}

/// Whether the server closes the connection without (further) words.
pub fn closes(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// An LZO stream of a few bytes that unpacks to about 255 times `zeros` bytes.
pub fn bomb(zeros: usize) -> Vec<u8> {
    let mut stream = b"\x02AAAAA\x20".to_vec();
    stream.resize(stream.len() + zeros, 0);
    stream.extend(b"\xb6\x10\x00\x11\x00\x00");
    stream
}
