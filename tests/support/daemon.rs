//! Daemons under test: ours and Debian's distccd 3.4. Each has a private TMPDIR and ends with its guard.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::command::wrapped;
use super::{DEBIAN_DISTCCD, PATIENCE, require, send_signal, wait_until};

/// How long a daemon may take to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a port that was free is tried, because another test may take it first.
const PORT_ATTEMPTS: u32 = 5;

/// Whose daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Maker {
    Ours,
    Debian,
}

/// A daemon that can be started.
pub struct DaemonBuilder {
    maker: Maker,
    command: Command,
    temporary: PathBuf,
    listen: String,
    has_access_option: bool,
    wrapper: Vec<String>,
}

/// A daemon that runs.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    log_file: Option<PathBuf>,
    temporary: PathBuf,
    address: String,
    ended: Option<ExitStatus>,
}

/// A port that nobody listens on, for programs that cannot choose one themselves.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl DaemonBuilder {
    /// Ours: `program` is the binary under its name `distccd`.
    pub(super) fn ours(program: &Path, temporary: PathBuf) -> DaemonBuilder {
        let mut command = Command::new(program);
        command.args(["--no-detach", "--daemon", "--port", "0", "--log-stderr"]);
        DaemonBuilder::new(Maker::Ours, command, temporary)
    }

    /// Debian's.
    pub(super) fn debian(temporary: PathBuf) -> DaemonBuilder {
        require("distccd");
        let mut command = Command::new(DEBIAN_DISTCCD);
        command.args(["--no-detach", "--daemon", "--log-level", "debug"]);
        DaemonBuilder::new(Maker::Debian, command, temporary)
    }

    fn new(maker: Maker, mut command: Command, temporary: PathBuf) -> DaemonBuilder {
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TMPDIR", &temporary)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let (listen, wrapper) = ("127.0.0.1".into(), Vec::new());
        DaemonBuilder { maker, command, temporary, listen, has_access_option: false, wrapper }
    }

    /// Adds options.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> DaemonBuilder {
        for argument in arguments {
            let argument = argument.as_ref();
            let text = argument.to_string_lossy();
            let names_client = text.starts_with("--allow") && !text.starts_with("--allow-script");
            self.has_access_option |= names_client || text.starts_with("-a");
            self.command.arg(argument);
        }
        self
    }

    /// Adds or replaces a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> DaemonBuilder {
        self.command.env(name, value);
        self
    }

    /// The address to listen on instead of 127.0.0.1.
    pub fn listen(mut self, address: &str) -> DaemonBuilder {
        self.listen = address.to_string();
        self
    }

    /// Starts it through another program, which must become it.
    pub fn through(mut self, wrapper: &[String]) -> DaemonBuilder {
        self.wrapper = wrapper.to_vec();
        self
    }

    /// Compilers at once.
    pub fn jobs(self, count: u32) -> DaemonBuilder {
        self.args(["--jobs".to_string(), count.to_string()])
    }

    /// Starts it and waits until it takes connections.
    #[track_caller]
    pub fn start(mut self) -> Daemon {
        if !self.has_access_option {
            let address = self.listen.clone();
            self.command.args(["--allow", &address]);
        }
        let address = self.listen.clone();
        self.command.args(["--listen", &address]);
        match self.maker {
            Maker::Ours => self.start_ours(),
            Maker::Debian => self.start_debian(),
        }
    }

    fn start_ours(mut self) -> Daemon {
        // A test's own --log-level comes later and wins.
        let given = self.command.get_args().any(|word| word == "--log-level" || word == "--verbose");
        if !given {
            self.command.args(["--log-level", "info"]);
        }
        let mut daemon = self.spawn(Stdio::piped(), None);
        wait_until("our daemon's address", || {
            let log = daemon.log();
            assert!(!daemon.has_ended(), "our daemon did not start: {log}");
            log.contains("listening on ")
        });
        let log = daemon.log();
        let address = log.split("listening on ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        daemon.address = address.trim().to_string();
        daemon
    }

    fn start_debian(mut self) -> Daemon {
        let log_file = self.temporary.with_extension("log");
        // Created before the daemon gives up root.
        fs::write(&log_file, "").unwrap();
        fs::set_permissions(&log_file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        self.command.arg("--log-file").arg(&log_file);
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            self.command.args(["--port", &port.to_string()]);
            let mut daemon = self.spawn(Stdio::null(), Some(log_file.clone()));
            daemon.address = if self.listen.contains(':') {
                format!("[{}]:{port}", self.listen)
            } else {
                format!("{}:{port}", self.listen)
            };
            let give_up = Instant::now() + PATIENCE;
            while !daemon.has_ended() && Instant::now() < give_up {
                if TcpStream::connect(&daemon.address).is_ok() {
                    return daemon;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("Debian's distccd did not start: {}", fs::read_to_string(log_file).unwrap_or_default());
    }

    fn spawn(&mut self, stderr: Stdio, log_file: Option<PathBuf>) -> Daemon {
        if !self.wrapper.is_empty() {
            self.command = wrapped(&self.command, &std::mem::take(&mut self.wrapper));
            self.command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        self.command.stderr(stderr).process_group(0);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start a daemon: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(stream) = child.stderr.take() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream);
                let mut line = Vec::new();
                while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                    log.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            });
        }
        Daemon {
            child,
            log,
            log_file,
            temporary: self.temporary.clone(),
            address: String::new(),
            ended: None,
        }
    }
}

impl Daemon {
    /// The word for a host list: `127.0.0.1:PORT` or `[::1]:PORT`.
    pub fn host(&self) -> String {
        self.address.clone()
    }

    /// The same with LZO.
    pub fn host_lzo(&self) -> String {
        format!("{},lzo", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its private TMPDIR.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        match &self.log_file {
            Some(file) => String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned(),
            None => self.log.lock().unwrap().clone(),
        }
    }

    /// Waits until it has logged a text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let give_up = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < give_up, "the daemon never logged {text:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many jobs it has compiled with success. Its summary of a job may come after the client has its
    /// reply; wait for it with [`Daemon::wait_for_jobs`].
    pub fn jobs_done(&self) -> usize {
        self.log().matches(" COMPILE_OK ").count()
    }

    /// How many jobs its compilers have finished, with success or without.
    pub fn compilations(&self) -> usize {
        self.jobs_done() + self.log().matches(" COMPILE_ERROR ").count()
    }

    /// Waits until it has compiled so many jobs.
    #[track_caller]
    pub fn wait_for_jobs(&self, count: usize) {
        let give_up = Instant::now() + PATIENCE;
        while self.jobs_done() < count {
            assert!(Instant::now() < give_up, "not {count} jobs were compiled:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.jobs_done(), count, "{}", self.log());
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        send_signal(name, i64::from(self.child.id()));
    }

    fn has_ended(&self) -> bool {
        // A zombie has ended too; its state is the word after the name in parentheses.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
    }

    /// Ends it with SIGTERM and returns how it ended. Safe to call twice.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end, after a signal was sent.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let give_up = Instant::now() + STOP_TIME_MAX;
        while Instant::now() < give_up {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = Some(status);
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the daemon did not stop within {STOP_TIME_MAX:?}:\n{}", self.log());
    }

    /// The signal that ended it.
    pub fn ended_by(&self) -> Option<i32> {
        self.ended.and_then(|status| status.signal())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        send_signal("KILL", -i64::from(self.child.id()));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
