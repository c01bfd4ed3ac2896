//! What the service manager that started this server hears from it (systemd, `Type=notify`): that it is ready, reads its
//! configuration again, stops, and is alive.
//!
//! Knows what is told; the event loop says when. The sign of life is sent from that loop and from nowhere else, so that
//! one that is stuck sends none. Without a manager all of this is nothing.

use std::time::{Duration, Instant};

use crate::daemon::config::ManagerSettings;
use crate::log_warning;
use crate::sys::child::Environment;
use crate::sys::service_manager::{Notifier, monotonic_microseconds};

/// What managers put into the environment for the server alone: a compiler that spoke in its name would be believed.
const VARIABLES: [&str; 6] =
    ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];
/// Signs of life in the time after which a server without one is taken for stuck.
const SIGNS: u32 = 2;
/// They come no faster, whatever that time is.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The manager, if there is one.
#[derive(Debug, Default)]
pub struct Manager {
    notifier: Option<Notifier>,
    pulse: Option<Pulse>,
}

/// The signs of life it wants.
#[derive(Debug)]
struct Pulse {
    interval: Duration,
    next: Instant,
}

impl Manager {
    /// Connects to it. Call it before the server withdraws from what it could connect to.
    pub fn connect(settings: &ManagerSettings) -> Manager {
        let Some(socket) = &settings.socket else { return Manager::default() };
        match Notifier::connect(socket) {
            Ok(notifier) => {
                let pulse = |time: Duration| Pulse {
                    interval: (time / SIGNS).max(INTERVAL_MIN),
                    next: Instant::now(),
                };
                Manager { notifier: Some(notifier), pulse: settings.watchdog.map(pulse) }
            }
            Err(error) => {
                log_warning!(
                    "NOTIFY_SOCKET {}: {error}; the service manager hears nothing",
                    socket.display()
                );
                Manager::default()
            }
        }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.notifier.is_some()
    }

    /// The process to watch is another one from now on.
    pub fn main_process_is(&self, process: i32) {
        self.tell(&format!("MAINPID={process}"));
    }

    /// Clients are served.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again. [`Manager::ready`] must follow.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_microseconds()));
    }

    /// No more clients are served.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// When the next sign of life is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.pulse.as_ref().map(|pulse| pulse.next)
    }

    /// Gives a sign of life if it is due, and says how things are.
    pub fn on_clock(&mut self, now: Instant, status: impl FnOnce() -> String) {
        let Some(pulse) = self.pulse.as_mut().filter(|pulse| pulse.next <= now) else { return };
        pulse.next = now + pulse.interval;
        self.tell(&format!("WATCHDOG=1\nSTATUS={}", status()));
    }

    fn tell(&self, text: &str) {
        if let Some(notifier) = &self.notifier
            && let Err(error) = notifier.tell(text)
        {
            let what = text.split('=').next().unwrap_or_default();
            log_warning!("tell the service manager {what}: {error}");
        }
    }
}

/// Takes what is meant for the server alone from an environment for compilers.
pub fn hide_from_compilers(environment: &mut Environment) {
    for name in VARIABLES {
        environment.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::net::UnixDatagram;

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        manager.set_nonblocking(true).unwrap();
        let mut buffer = [0; 256];
        std::iter::from_fn(|| manager.recv(&mut buffer).ok().map(|count| buffer[..count].to_vec()))
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }

    #[test]
    fn signs_of_life_come_twice_in_the_time_they_are_wanted() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let settings = ManagerSettings { socket: Some(path.into()), watchdog: Some(Duration::from_secs(20)) };
        let mut manager = Manager::connect(&settings);
        let began = manager.deadline().unwrap();
        for (seconds, signs) in [(0, 1), (1, 0), (9, 0), (10, 1), (19, 0), (25, 1), (34, 0), (35, 1)] {
            manager.on_clock(began + Duration::from_secs(seconds), || "busy".into());
            let heard = heard(&socket);
            assert_eq!(heard.len(), signs, "after {seconds} s: {heard:?}");
            assert!(heard.iter().all(|text| text == "WATCHDOG=1\nSTATUS=busy"), "{heard:?}");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        for socket in [None, Some("/no/such/socket".into())] {
            let settings = ManagerSettings { socket, watchdog: Some(Duration::from_secs(1)) };
            let mut manager = Manager::connect(&settings);
            assert!(manager.deadline().is_none() && !manager.is_there());
            manager.ready("here");
            manager.on_clock(Instant::now(), || unreachable!("BUG: a status for nobody"));
        }
    }
}
