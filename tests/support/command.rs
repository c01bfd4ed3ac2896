//! One command under test: a scrubbed environment, a time limit, everything it said.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{PATIENCE, send_signal};

/// The longest a command may take; a command that hangs is a failed test.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A command that can be run.
pub struct Run {
    command: Command,
    time_max: Duration,
}

/// What became of a command.
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
    /// The command, for messages.
    text: String,
}

/// A command that runs. Killed with its process group when dropped.
pub struct Running {
    child: Option<Child>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    began: Instant,
    text: String,
}

impl Run {
    /// A program with nothing in its environment. It leads its own process group, so that everything it
    /// starts can be ended with it.
    pub fn new(program: impl AsRef<OsStr>) -> Run {
        let mut command = Command::new(program);
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Run { command, time_max: TIME_MAX }
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Run {
        self.command.args(arguments);
        self
    }

    /// Adds or replaces a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Takes a variable away.
    pub fn env_remove(mut self, name: &str) -> Run {
        self.command.env_remove(name);
        self
    }

    /// The host list.
    pub fn hosts(self, hosts: &str) -> Run {
        self.env("DISTCC_HOSTS", hosts)
    }

    /// The directory to run in.
    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Run {
        self.command.current_dir(directory);
        self
    }

    /// Joins a process group: clients of one group count as one build. Such a command is not killed with a
    /// group.
    pub fn group_of(mut self, leader: &Running) -> Run {
        self.command.process_group(i32::try_from(leader.id()).unwrap());
        self
    }

    /// The name it is called by.
    pub fn argv0(mut self, name: impl AsRef<OsStr>) -> Run {
        self.command.arg0(name);
        self
    }

    /// The longest it may take, where a test is about time.
    pub fn within(mut self, time: Duration) -> Run {
        self.time_max = time;
        self
    }

    /// Starts it through another program, which must become it: what `wrapper` and the command's own words make.
    pub fn through(mut self, wrapper: &[String]) -> Run {
        self.command = wrapped(&self.command, wrapper);
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        self
    }

    /// Changes whatever is not covered by the other methods.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Run {
        change(&mut self.command);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Outcome {
        let time_max = self.time_max;
        self.start().finish_within(time_max)
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let text = words(self.command.get_program(), self.command.get_args());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start {text}: {error}"));
        Running {
            stdout: child.stdout.take().map(collect),
            stderr: child.stderr.take().map(collect),
            child: Some(child),
            began: Instant::now(),
            text,
        }
    }
}

/// A command started through another one: the same environment and directory, whose streams are still to be set.
pub(super) fn wrapped(command: &Command, wrapper: &[String]) -> Command {
    let mut outer = Command::new(&wrapper[0]);
    outer.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args()).env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        outer.current_dir(directory);
    }
    outer
}

fn words<'a>(program: &OsStr, arguments: impl Iterator<Item = &'a OsStr>) -> String {
    let words: Vec<OsString> =
        std::iter::once(program.to_os_string()).chain(arguments.map(OsStr::to_os_string)).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the command was waited for").id()
    }

    /// Sends it a signal (`TERM`), and nobody else.
    pub fn signal(&self, name: &str) {
        send_signal(name, i64::from(self.id()));
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Waits for its end and everything it said.
    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.finish_within(PATIENCE)
    }

    /// The same with a time limit.
    #[track_caller]
    pub fn finish_within(mut self, time: Duration) -> Outcome {
        let give_up = Instant::now() + time;
        // A command that takes a millisecond must not be measured in units of many.
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.as_mut().expect("waited for once").try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < give_up, "{} did not end within {time:?}", self.text);
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let elapsed = self.began.elapsed();
        self.child = None;
        let join = |stream: Option<JoinHandle<Vec<u8>>>| {
            stream.map(|thread| thread.join().unwrap()).unwrap_or_default()
        };
        let (stdout, stderr) = (join(self.stdout.take()), join(self.stderr.take()));
        Outcome { status, stdout, stderr, elapsed, text: std::mem::take(&mut self.text) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            send_signal("KILL", -i64::from(child.id()));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Outcome {
    /// The exit status as a shell gives it: 128 plus the signal for a killed command.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// How many lines of standard error contain a text.
    pub fn err_lines_with(&self, text: &str) -> usize {
        self.err().lines().filter(|line| line.contains(text)).count()
    }

    /// Fails unless the command succeeded, whatever it said.
    #[track_caller]
    pub fn assert_worked(&self) {
        assert!(self.status.success(), "{self}");
    }

    /// Fails unless the command succeeded without a word.
    #[track_caller]
    pub fn assert_quiet_success(&self) {
        assert!(self.status.success() && self.stderr.is_empty(), "not a quiet success: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n--- stdout\n{}--- stderr\n{}---", self.text, self.status, self.out(), self.err())
    }
}
