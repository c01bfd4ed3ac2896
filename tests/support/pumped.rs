//! Pump mode around commands: an include server that `pump --startup` started, or one that a client starts by itself.

use std::time::Duration;

use super::{Outcome, Run, Sandbox, send_signal, wait_until};

/// How long `pump --shutdown` may take.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(15);

/// What `pump --startup` printed; `pump --shutdown` when the test ends.
pub struct Pump {
    variables: Vec<(String, String)>,
}

impl Pump {
    /// Runs our `pump --startup`.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, hosts: &str) -> Pump {
        Pump::from(&sandbox.applet("pump").args(["--startup"]).hosts(hosts).run())
    }

    /// Takes the variables from the lines that are meant for a shell.
    #[track_caller]
    pub fn from(startup: &Outcome) -> Pump {
        assert_eq!(startup.code(), 0, "{startup}");
        let text = startup.out();
        let assignments = text.lines().filter_map(|line| line.strip_prefix("export "));
        let variables: Vec<(String, String)> = assignments
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            // Commands in tests choose their compilers themselves.
            .filter(|(name, _)| name.starts_with("INCLUDE_SERVER"))
            .collect();
        assert!(variables.iter().any(|(name, _)| name == "INCLUDE_SERVER_PORT"), "{startup}");
        Pump { variables }
    }

    /// A command of this build.
    pub fn around(&self, run: Run) -> Run {
        self.variables.iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    /// The process of the include server.
    pub fn id(&self) -> i64 {
        let value = self.variables.iter().find(|(name, _)| name == "INCLUDE_SERVER_PID");
        value.and_then(|(_, value)| value.parse().ok()).expect("a process id")
    }

    /// Runs `pump --shutdown`.
    #[track_caller]
    pub fn stop(self, sandbox: &Sandbox) -> Outcome {
        let run = self.around(sandbox.applet("pump").args(["--shutdown"]));
        let outcome = run.within(SHUTDOWN_TIME_MAX).run();
        assert_eq!(outcome.code(), 0, "{outcome}");
        outcome
    }
}

impl Sandbox {
    /// Ends the include server that a client started by itself.
    #[track_caller]
    pub fn end_background_server(&self) {
        let servers = || {
            let commands = self.processes().into_iter().map(|(process, _)| {
                (process, std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default())
            });
            commands.filter(|(_, command)| command.starts_with(b"include_server")).collect::<Vec<_>>()
        };
        for (process, _) in servers() {
            send_signal("TERM", i64::from(process));
        }
        wait_until("the end of the include server", || servers().is_empty());
    }
}
