//! `+zeroconf` in a host list, as a client sees it: a file of hosts in DISTCC_DIR, kept by a process of the user's own
//! ([`crate::hosts::browser`]). Knows how that is started and waited for; not how hosts are found.
//!
//! ```text
//! zeroconf/lock     held by the process that keeps the file (fcntl)
//! zeroconf/hosts    words of a host list, one a line; rewritten in its place under a lock, empty until there is an answer
//! ```
//!
//! Both are distcc 3.4's, whose clients and ours use them side by side, whoever's process it is.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::hosts::spec::{self, Host, Transport};
use crate::log_info;
use crate::sys::child::{Command, Environment, Group};
use crate::sys::lock::{self, ReadersTurn};
use crate::sys::net::{self, Ready};
use crate::sys::watch::CloseWatch;

/// The directory in DISTCC_DIR.
pub const DIRECTORY: &str = "zeroconf";
/// Held by who keeps the list.
pub const LOCK: &str = "lock";
/// The list.
pub const HOSTS: &str = "hosts";
/// The name of the process that keeps it.
pub const PROGRAM: &str = "distcc-zeroconf";

/// How long the first client waits for an answer from the network; later ones find it. Servers answer within a fifth
/// of a second (RFC 6762, 6), and the process waits for them for less than this.
pub const FIRST_ANSWER_TIME_MAX: Duration = Duration::from_millis(1500);
/// How often the process is started for one job.
const ATTEMPTS: u32 = 2;
/// Largest file of hosts that is read, in bytes, as in 3.4.
pub const FILE_BYTES_MAX: u64 = 100 * 1024;
/// How a line begins that says something to people.
const COMMENT: char = '#';

/// The hosts that were found; their compiler is that of the search path. The error is a text that says what to look at.
pub fn hosts(distcc_directory: &Path, search_path: &OsStr) -> Result<Vec<Host>, String> {
    let directory = distcc_directory.join(DIRECTORY);
    let deadline = Instant::now() + FIRST_ANSWER_TIME_MAX;
    let failed = |error: io::Error| format!("+zeroconf: {}: {error}", directory.display());
    let mut text = String::new();
    // Twice where the process ends, for want of readers, just when we come.
    for _ in 0..ATTEMPTS {
        if !lock::is_locked(&directory.join(LOCK)).map_err(failed)? {
            fs::create_dir_all(&directory).map_err(failed)?;
            start(&directory, search_path, deadline)
                .map_err(|error| format!("+zeroconf: start {PROGRAM}: {error}"))?;
        }
        text = wait_for_answer(&directory, deadline).map_err(failed)?;
        if !text.is_empty() {
            break;
        }
    }
    let hosts = parse(&text);
    if hosts.is_empty() {
        let said = text.lines().find_map(|line| line.strip_prefix(COMMENT)).map(str::trim);
        return Err(format!(
            "+zeroconf: {}; servers must run with --zeroconf, in this network, and let UDP port 5353 through",
            said.unwrap_or("no server has answered")
        ));
    }
    Ok(hosts)
}

/// The hosts of a file. A line that is none is passed over: the file is written by programs, for any version. So is one
/// that would have a program started: what was found in a network is an address.
pub fn parse(text: &str) -> Vec<Host> {
    let words = text.lines().filter_map(|line| line.split(COMMENT).next()?.split_whitespace().next());
    let hosts = words.filter_map(|word| spec::parse_word(word).ok());
    hosts.filter(|host| matches!(host.transport, Transport::Tcp { .. })).collect()
}

/// Starts the process, and waits until it has an answer, or has found that another one is at it already.
fn start(directory: &Path, search_path: &OsStr, deadline: Instant) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let (ours, its) = net::pair()?;
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    Command {
        // We are that program, too.
        program: Path::new("/proc/self/exe"),
        argv: &[PROGRAM.into(), directory.into_os_string(), search_path.to_os_string()],
        environment: &Environment::inherited(),
        directory: None,
        stdio: [Some(null.as_fd()), Some(its.as_fd()), Some(null.as_fd())],
        group: Group::Detached,
        walls: None,
    }
    .spawn()?;
    drop(its);
    // It says a word, or ends.
    if net::poll(&[(ours.as_fd(), Ready::Readable)], Some(deadline))?.is_empty() {
        log_info!("+zeroconf: no answer yet");
    }
    Ok(())
}

/// The file's text, as soon as there is any. Empty if there is none at the deadline, or nobody at it any more, or a process
/// of 3.4 that has found nothing: it leaves the file empty for as long as that is so.
fn wait_for_answer(directory: &Path, deadline: Instant) -> io::Result<String> {
    let (file, lock) = (&directory.join(HOSTS), &directory.join(LOCK));
    let text = read(file, deadline)?;
    let is_old = || {
        let changed = fs::metadata(file).and_then(|metadata| metadata.modified());
        changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > FIRST_ANSWER_TIME_MAX))
    };
    if !text.is_empty() || is_old() {
        return Ok(text);
    }
    // Made before the second look, so that nothing is missed between the two.
    let watch = CloseWatch::new(directory)?;
    loop {
        let text = read(file, deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if !text.is_empty() || left.is_zero() || !lock::is_locked(lock)? {
            return Ok(text);
        }
        watch.wait(left)?;
        watch.drain()?;
    }
}

fn read(file: &Path, deadline: Instant) -> io::Result<String> {
    let mut turn = match ReadersTurn::wait(file, deadline) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        turn => turn?,
    };
    let mut bytes = Vec::new();
    turn.file().take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::tests::TestDirectory;
    use crate::sys::lock::LockFile;
    use std::thread;

    #[test]
    fn lines_of_3_4_and_ours_are_hosts() {
        let text = "10.0.0.1:3632/4\n[fe80::1%eth0]:99/8,lzo,cpp # distcc@red\n# nothing\n\nbad:port\n\
                    me@10.0.0.9:run\n@red\nlocalhost/9\n";
        let words: Vec<String> = parse(text).into_iter().map(|host| host.word).collect();
        assert_eq!(words, ["10.0.0.1:3632/4", "[fe80::1%eth0]:99/8,lzo,cpp"]);
    }

    #[test]
    fn an_answer_is_waited_for_by_event_and_not_for_ever() {
        let directory = TestDirectory::new("zeroconf");
        let file = directory.join(HOSTS);
        let lock = LockFile::open(&directory.join(LOCK)).unwrap();
        assert!(lock.try_lock().unwrap());
        let deadline = Instant::now() + Duration::from_millis(50);
        assert_eq!(wait_for_answer(&directory, deadline).unwrap(), "");
        assert!(Instant::now() >= deadline);
        fs::write(&file, "").unwrap();
        let writer = {
            let file = file.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(50));
                fs::write(file, "10.0.0.1:3632/4\n").unwrap();
            })
        };
        let began = Instant::now();
        let text = wait_for_answer(&directory, began + Duration::from_secs(20)).unwrap();
        writer.join().unwrap();
        assert_eq!(text, "10.0.0.1:3632/4\n");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_is_no_file_or_never_free_is_not_waited_for() {
        let directory = TestDirectory::new("zeroconf_pipe");
        let file = directory.join(HOSTS);
        let soon = || Instant::now() + Duration::from_millis(50);
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert_eq!(wait_for_answer(&directory, soon()).unwrap(), "");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "10.0.0.1\n").unwrap();
        let script = "import fcntl,sys,time; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); print(1,flush=True); time.sleep(60)";
        let mut holder = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&file)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let refused = wait_for_answer(&directory, soon()).unwrap_err();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn nobody_is_waited_for_who_is_not_there_or_has_had_the_time() {
        let directory = TestDirectory::new("zeroconf_vain");
        let far = || Instant::now() + Duration::from_secs(20);
        let began = Instant::now();
        assert_eq!(wait_for_answer(&directory, far()).unwrap(), "");
        let lock = LockFile::open(&directory.join(LOCK)).unwrap();
        assert!(lock.try_lock().unwrap());
        let file = fs::File::create(directory.join(HOSTS)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(5)).unwrap();
        assert_eq!(wait_for_answer(&directory, far()).unwrap(), "");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn nothing_is_started_where_a_process_keeps_the_list() {
        let directory = TestDirectory::new("zeroconf_kept");
        let own = directory.join(DIRECTORY);
        fs::create_dir(&own).unwrap();
        fs::write(own.join(HOSTS), "# 2 servers, none with cc 12\n").unwrap();
        let lock = LockFile::open(&own.join(LOCK)).unwrap();
        assert!(lock.try_lock().unwrap());
        let said = hosts(&directory, OsStr::new("")).unwrap_err();
        assert!(said.starts_with("+zeroconf: 2 servers, none with cc 12; servers must run"), "{said}");
        fs::write(own.join(HOSTS), "10.0.0.1:3632/4,lzo,cpp\n").unwrap();
        let found = hosts(&directory, OsStr::new("")).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].protocol(), 3);
    }
}
