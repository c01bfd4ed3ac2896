//! The include server's life: its sockets, its threads, and what ends it. Knows nothing of what is asked.
//!
//! A few threads wait in accept(2) on each socket; a thread that takes a connection serves it to its end, and when none is
//! left to wait another is started. The first thread only watches for an end: a signal, the end of the build, silence, or
//! that the socket is no longer ours.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::analyst::{self, Shared};
use super::config::Config;
use super::mailer::Mailer;
use super::mirror::{self, Mirror};
use super::session::{Language, Service};
use super::statistics::Statistics;
use super::store::Store;
use crate::exit_code::ExitCode;
use crate::protocol::include_query::direct_socket;
use crate::sys::net::{self, Ready};
use crate::sys::process::{self, FileIdentity, Fork};
use crate::sys::signal::{SIGHUP, SIGINT, SIGTERM, SignalFile};
use crate::{log_error, log_info, log_warning};

/// How often the first thread looks whether the socket is still there.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Threads of a socket at start; more are started as they are needed.
const THREADS_AT_START: usize = 2;
/// Threads that may wait on a socket at the same time; one more ends. As many as a build has jobs, usually.
const WAITING_MAX: usize = 32;
/// Most threads of a socket: a connection beyond waits in the kernel's queue.
const THREADS_MAX: usize = 256;
/// Stack of a thread, in bytes: expanding macros within macros is recursive.
const STACK_BYTES: usize = 8 << 20;
/// How long questions that are being answered may take after the server was told to end.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// Pause when no connection can be accepted, for want of descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Starts the server, in the background unless told otherwise, and serves until something ends it.
///
/// In the background this returns in both processes: in the one that was started as soon as the sockets are there.
pub fn run(config: Config) -> Result<(), ExitCode> {
    let fault = |what: &'static str| {
        move |error: io::Error| {
            log_error!("{what}: {error}");
            ExitCode::DistccFailed
        }
    };
    if config.foreground {
        write_pid_file(&config, std::process::id())?;
        process::forget_standard_input(false).map_err(fault("open /dev/null"))?;
        return serve(config, || {});
    }
    let (mut ready, tell) = io::pipe().map_err(fault("make a pipe"))?;
    match process::fork().map_err(fault("fork"))? {
        Fork::Parent(child) => {
            drop(tell);
            write_pid_file(&config, child.unsigned_abs())?;
            // No byte comes if the child has ended; it has said why. One that is ready has let go of the pipe, too,
            // before anybody can look for what it holds.
            let mut said = Vec::new();
            match ready.read_to_end(&mut said) {
                Ok(count) if count > 0 => Ok(()),
                _ => Err(ExitCode::DistccFailed),
            }
        }
        Fork::Child => {
            drop(ready);
            process::forget_standard_input(true).map_err(fault("leave the terminal"))?;
            serve(config, move || {
                let _ = (&tell).write_all(b"\n");
            })
        }
    }
}

fn write_pid_file(config: &Config, process: u32) -> Result<(), ExitCode> {
    let Some(path) = &config.pid_file else { return Ok(()) };
    fs::write(path, format!("{process}\n")).map_err(|error| {
        log_error!("write {}: {error}", path.display());
        ExitCode::IoError
    })
}

/// What the threads have in common.
struct Threads {
    service: Service,
    begin: Instant,
    /// Questions being answered.
    active: AtomicUsize,
    /// When the last one ended, in milliseconds since `begin`.
    last: AtomicU64,
    user: u32,
}

fn serve(config: Config, ready: impl FnOnce()) -> Result<(), ExitCode> {
    let begin = Instant::now();
    let internal = |error: io::Error| {
        log_error!("start the include server: {error}");
        ExitCode::DistccFailed
    };
    process::raise_descriptor_limit();
    // Before any thread, so that all have the signals blocked.
    let signals = SignalFile::open(&[SIGTERM, SIGINT, SIGHUP]).map_err(internal)?;
    let build = config.end_of_build.map(process::duplicate_descriptor).transpose().map_err(|error| {
        log_error!("--exit-on-eof: {error}");
        ExitCode::BadArguments
    })?;
    mirror::remove_stale(&config.mirror);
    let sockets = Sockets::bind(&config.socket)?;
    let shared = Arc::new(Shared {
        aids: config.aids,
        store: Store::new().map_err(internal)?,
        mirror: Mutex::new(Mirror::new(config.mirror)),
        statistics: Mutex::new(Statistics::default()),
        mailer: config.mail.map(|mail| Mailer::new(mail, &config.search_path)),
    });
    let processors = process::processors_online();
    let service = Service::new(shared, processors, config.search_path);
    let (active, last) = (AtomicUsize::new(0), AtomicU64::new(0));
    let threads = Arc::new(Threads { service, begin, active, last, user: process::user() });
    // Also if this thread fails.
    let leaving = Leaving(Arc::clone(&threads));
    sockets.start(&threads).map_err(internal)?;
    log_info!("listening on {}", config.socket.display());
    ready();
    let watch = Watch { signals, build, idle_timeout: config.idle_timeout };
    let end = watch.until_the_end(&threads, &sockets);
    log_info!("the include server ends: {end}");
    drop(sockets);
    threads.farewell();
    drop(leaving);
    remove_pid_file(config.pid_file.as_deref());
    if config.times {
        print_times(begin);
    }
    Ok(())
}

/// The process id is ours to take back only if it is ours.
fn remove_pid_file(path: Option<&Path>) {
    let own = std::process::id().to_string();
    if let Some(path) = path
        && fs::read_to_string(path).is_ok_and(|text| text.trim() == own)
    {
        let _ = fs::remove_file(path);
    }
}

/// What option `-t` prints.
fn print_times(begin: Instant) {
    let (own, children) = (process::usage_of_self(), process::usage_of_children());
    eprintln!(
        "include_server: elapsed {:.3} s, user {:.3} s, system {:.3} s",
        begin.elapsed().as_secs_f64(),
        (own.user + children.user).as_secs_f64(),
        (own.system + children.system).as_secs_f64()
    );
}

/// Both sockets. Dropping it removes them, if they are still ours.
struct Sockets {
    old: Socket,
    /// None if its path would be too long.
    direct: Option<Socket>,
}

struct Socket {
    listener: Arc<UnixListener>,
    path: PathBuf,
    identity: Option<FileIdentity>,
}

impl Sockets {
    fn bind(path: &Path) -> Result<Sockets, ExitCode> {
        let direct_path = direct_socket(path);
        // The direct one first: who finds the other one finds both.
        let direct = match Socket::bind(&direct_path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                log_info!("no direct socket, because its path is too long");
                Ok(None)
            }
            result => result.map(Some),
        };
        let cannot = |path: &Path, error: io::Error| {
            log_error!("listen on {}: {error}", path.display());
            ExitCode::BindFailed
        };
        let direct = direct.map_err(|error| cannot(&direct_path, error))?;
        let old = Socket::bind(path).map_err(|error| cannot(path, error))?;
        Ok(Sockets { old, direct })
    }

    fn start(&self, threads: &Arc<Threads>) -> io::Result<()> {
        let languages = [(Some(&self.old), Language::Old), (self.direct.as_ref(), Language::Direct)];
        for (socket, language) in languages {
            let Some(socket) = socket else { continue };
            let waiting = AtomicUsize::new(0);
            let count = AtomicUsize::new(0);
            let listener = Arc::clone(&socket.listener);
            let group = Arc::new(Group { threads: Arc::clone(threads), listener, language, waiting, count });
            for _ in 0..THREADS_AT_START {
                group.add_thread()?;
            }
        }
        Ok(())
    }

    fn are_in_place(&self) -> bool {
        self.old.is_in_place() && self.direct.as_ref().is_none_or(Socket::is_in_place)
    }
}

impl Socket {
    /// Listens, in place of a socket that nobody answers on.
    fn bind(path: &Path) -> io::Result<Socket> {
        match UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another include server answers there"));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // A file that is no socket refuses connections, too.
                if !fs::metadata(path)?.file_type().is_socket() {
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
                }
                fs::remove_file(path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = Arc::new(net::listen_locally(path)?);
        Ok(Socket { listener, path: path.to_owned(), identity: FileIdentity::of(path) })
    }

    fn is_in_place(&self) -> bool {
        self.identity.is_some() && FileIdentity::of(&self.path) == self.identity
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The threads of one socket.
struct Group {
    threads: Arc<Threads>,
    listener: Arc<UnixListener>,
    language: Language,
    /// Those that wait for a connection.
    waiting: AtomicUsize,
    count: AtomicUsize,
}

impl Group {
    fn add_thread(self: &Arc<Group>) -> io::Result<()> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let group = Arc::clone(self);
        let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || group.work());
        if started.is_err() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        started.map(drop)
    }

    fn work(self: Arc<Group>) {
        loop {
            let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
            if waiting >= WAITING_MAX {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                self.count.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let accepted = self.listener.accept();
            let others = self.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
            match accepted {
                Ok((stream, _)) => {
                    if others == 0
                        && self.count.load(Ordering::Relaxed) < THREADS_MAX
                        && let Err(error) = self.add_thread()
                    {
                        log_warning!("start another thread: {error}");
                    }
                    self.threads.serve(stream, self.language);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log_warning!("accept a connection: {error}");
                    thread::sleep(EXHAUSTED_PAUSE);
                }
            }
        }
    }
}

impl Threads {
    fn serve(&self, mut stream: UnixStream, language: Language) {
        if net::peer_user(stream.as_fd()).ok() != Some(self.user) {
            log_warning!("a client of another user was turned away");
            return;
        }
        self.active.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = self.service.serve(&mut stream, language) {
            log_info!("a client went away: {error}");
        }
        self.last.store(self.now(), Ordering::Release);
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    /// Milliseconds since the server began.
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long nobody has asked.
    fn silence(&self) -> Duration {
        if self.active.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Acquire)))
    }

    /// Lets questions that came before the end have their answers.
    fn farewell(&self) {
        let deadline = Instant::now() + FAREWELL_TIME;
        while self.active.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Removes the files for clients of 3.4 when dropped, while other threads may still run.
struct Leaving(Arc<Threads>);

impl Drop for Leaving {
    fn drop(&mut self) {
        analyst::lock(&self.0.service.shared.mirror).close();
    }
}

/// What the first thread waits for.
struct Watch {
    signals: SignalFile,
    build: Option<OwnedFd>,
    idle_timeout: Option<Duration>,
}

impl Watch {
    /// Waits for a reason to end, and says which.
    fn until_the_end(mut self, threads: &Threads, sockets: &Sockets) -> String {
        loop {
            let left = self.idle_timeout.map(|limit| limit.saturating_sub(threads.silence()));
            if left == Some(Duration::ZERO) {
                return "nobody has asked for long enough".into();
            }
            if !sockets.are_in_place() {
                return "its socket was removed or replaced".into();
            }
            let wait = left.map_or(WATCH_INTERVAL, |left| left.min(WATCH_INTERVAL));
            let mut descriptors = vec![(self.signals.file().as_fd(), Ready::Readable)];
            descriptors.extend(self.build.as_ref().map(|build| (build.as_fd(), Ready::Readable)));
            let ready = net::poll(&descriptors, Some(Instant::now() + wait)).unwrap_or_else(|error| {
                log_warning!("wait for signals: {error}");
                thread::sleep(wait);
                Vec::new()
            });
            if ready.contains(&1)
                && let Some(build) = &self.build
                && net::read(build.as_fd(), &mut [0; 64]).is_ok_and(|count| count == 0)
            {
                return "its build has ended".into();
            }
            if ready.contains(&0)
                && let Some(signal) = self.signals.read()
            {
                return format!("signal {signal}");
            }
        }
    }
}
