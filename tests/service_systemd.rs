//! A server under systemd itself: a manager of the test's own (`systemd --user`) starts it for its first client, is told how it
//! is, has it read its configuration again, and ends it when its loop is stuck.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raw::{Place, Reply, ask, is_root, job};
use support::{Running, free_port, send_signal, wait_until};

const SYSTEMD: &str = "/lib/systemd/systemd";
/// Where the kernel's control groups are, of either version; the manager's are below one of the test's in each.
const GROUPS: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Starts the manager in control groups of its own. It has to believe that the machine was started by systemd.
const START: &str = "for group in $CONTROL_GROUPS; do echo $$ >$group/cgroup.procs || exit 1; done
exec unshare --mount /bin/sh -c '
    mount -t tmpfs none /run && mkdir -p /run/systemd/system || exit 1
    exec /lib/systemd/systemd --user --unit=distccd.socket --log-target=console'";

/// systemd, for one service.
struct Manager {
    running: Option<Running>,
    groups: Vec<PathBuf>,
    home: PathBuf,
    runtime: PathBuf,
}

impl Manager {
    fn start(place: &Place, units: &[(&str, String)]) -> Manager {
        let (home, runtime) = (place.path("home"), place.path("runtime"));
        let directory = home.join(".config/systemd/user");
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir(&runtime).unwrap();
        fs::set_permissions(&runtime, PermissionsExt::from_mode(0o700)).unwrap();
        for (name, text) in units {
            fs::write(directory.join(name), text).unwrap();
        }
        let name = format!("distcc-e2e-{}", std::process::id());
        let directories = GROUPS.iter().map(Path::new);
        let directories = directories.filter(|directory| directory.join("cgroup.procs").exists());
        let groups: Vec<PathBuf> = directories.map(|directory| directory.join(&name)).collect();
        groups.iter().for_each(|group| fs::create_dir(group).unwrap());
        let words: Vec<String> = groups.iter().map(|group| group.display().to_string()).collect();
        let running =
            place.sandbox.command("/bin/sh").args(["-c", START]).env("CONTROL_GROUPS", words.join(" "));
        let running = running.env("HOME", &home).env("XDG_RUNTIME_DIR", &runtime).start();
        let manager = Manager { running: Some(running), groups, home, runtime };
        wait_until("systemd and its socket", || {
            manager.show(place, "distccd.socket", "ActiveState") == "active"
        });
        manager
    }

    fn control(&self, place: &Place, words: &[&str]) -> support::Outcome {
        let run = place.sandbox.command("/usr/bin/systemctl").args(["--user"]).args(words);
        run.env("HOME", &self.home).env("XDG_RUNTIME_DIR", &self.runtime).run()
    }

    fn show(&self, place: &Place, unit: &str, property: &str) -> String {
        self.control(place, &["show", unit, "--value", "-p", property]).out().trim().to_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.running = None;
        let give_up = Instant::now() + Duration::from_secs(5);
        for group in &self.groups {
            while !is_removed(group) && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Ends what is in a control group, and removes it.
fn is_removed(group: &Path) -> bool {
    for process in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        send_signal("KILL", process.parse().unwrap());
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            is_removed(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

#[test]
fn systemd_starts_watches_and_ends_a_server() {
    if !is_root() || !Path::new(SYSTEMD).exists() {
        eprintln!("skipped: needs root and systemd, for control groups of its own");
        return;
    }
    let place = Place::new();
    let port = free_port();
    let (log, clients, temporary) =
        (place.path("marks/log"), place.path("clients.allow"), place.sandbox.server_directory());
    fs::write(&clients, "127.0.0.1\n").unwrap();
    let service = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nWatchdogSec=1\nEnvironment=TMPDIR={} PATH={}\n\
         ExecStart={} --daemon --no-detach --jobs=7 --log-file={} --allow-file={} {}\nExecReload=/bin/kill -HUP $MAINPID\n",
        temporary.display(),
        place.search_path(),
        place.path("bin/distccd").display(),
        log.display(),
        clients.display(),
        place.script_options()[1],
    );
    let socket = format!("[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=127.0.0.1:{port}\n");
    let manager = Manager::start(&place, &[("distccd.service", service), ("distccd.socket", socket)]);
    let show = |property: &str| manager.show(&place, "distccd.service", property);
    assert_eq!(show("ActiveState"), "inactive");

    // The first client starts it, and is served.
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let reply: Reply = ask(address, &job("printf x >$out")).unwrap();
    assert_eq!(reply.object, b"x", "{reply:?}");
    assert_eq!(show("ActiveState"), "active");
    wait_until("a sign of life", || show("StatusText") == "0 of 7 jobs at work");
    let process = show("MainPID");

    // It reads its configuration again, and is the same process.
    fs::write(&clients, "192.0.2.1\n").unwrap();
    let reload = manager.control(&place, &["reload", "distccd.service"]);
    assert!(reload.status.success(), "{reload}");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the reloading", || read().contains("configuration read again"));
    wait_until("the end of the reloading", || show("ActiveState") == "active");
    assert_eq!(ask(address, &job("printf x >$out")).unwrap().refusal(), Some(113));
    assert_eq!((show("MainPID"), show("Result").as_str()), (process, "success"));
    assert!(!read().contains("tell the service manager"), "{}", read());

    // It lives for longer than it may be silent. Then its loop is stuck.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(show("ActiveState"), "active");
    let stop = manager.control(&place, &["kill", "--signal=STOP", "distccd.service"]);
    assert!(stop.status.success(), "{stop}");
    wait_until("the watchdog", || show("ActiveState") == "failed");
    assert_eq!(show("Result"), "watchdog");
    drop(manager);
    place.sandbox.assert_clean();
}
