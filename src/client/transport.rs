//! A connection to one host: TCP, or a command such as ssh. Knows how to reach a host; not what is said there.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::client::settings::Settings;
use crate::hosts::spec::{self, Host};
use crate::sys::child::{self, Command, Environment, Group};
use crate::sys::net::{self, Connecting};
use crate::sys::resolve;
use crate::sys::signal::CleanupChild;

/// The daemon's name on the other side of ssh, unless the host says otherwise.
const SSH_DAEMON: &str = "distccd";

/// A connection that is being made.
#[derive(Debug)]
pub enum Opening {
    /// Connections to the addresses of a name; what must be done by when.
    Tcp(Connecting, Instant),
    /// The command is started.
    Ssh(Connection),
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    from_host: OwnedFd,
    /// The other direction, where it is not the same socket.
    to_host: Option<OwnedFd>,
    /// The longest either direction may stand still.
    silence: Duration,
    /// Ends ssh if a signal ends us.
    _ssh: Option<CleanupChild>,
}

impl Opening {
    /// Starts connecting and returns as soon as the network is at work.
    pub fn start(host: &Host, settings: &Settings, environment: &Environment) -> io::Result<Opening> {
        Opening::start_with(host, settings, environment, None)
    }

    /// The same; what ssh itself has to say goes to `messages` instead of our standard error.
    pub fn start_with(
        host: &Host,
        settings: &Settings,
        environment: &Environment,
        messages: Option<BorrowedFd<'_>>,
    ) -> io::Result<Opening> {
        match &host.transport {
            spec::Transport::Local => unreachable!("BUG: jobs for localhost need no connection"),
            spec::Transport::Tcp { name, port } => {
                let deadline = Instant::now() + settings.connect_timeout;
                let port = u16::try_from(*port).map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidInput, format!("there is no port {port}"))
                })?;
                let addresses = resolve::addresses(name, port, deadline)?;
                Ok(Opening::Tcp(Connecting::start(&addresses), deadline))
            }
            spec::Transport::Ssh { user, name, command } => {
                check_ssh_name(name)?;
                let mut argv = ssh_command(&settings.ssh, user.as_deref(), name, command.as_deref());
                if host.authenticate.is_some() {
                    argv.push("--auth".into());
                }
                start_ssh(&argv, settings, environment, messages).map(Opening::Ssh)
            }
        }
    }

    /// Waits until the connection is made.
    pub fn finish(self, settings: &Settings) -> io::Result<Connection> {
        let connection = match self {
            Opening::Ssh(connection) => connection,
            Opening::Tcp(connecting, deadline) => {
                let stream = connecting.finish(deadline)?;
                // The request is written in few large pieces; the last must not wait for an acknowledgement.
                stream.set_nodelay(true)?;
                net::detect_dead_peer(stream.as_fd())?;
                Connection {
                    from_host: stream.into(),
                    to_host: None,
                    silence: settings.io_timeout,
                    _ssh: None,
                }
            }
        };
        net::set_silence_limit(connection.input(), connection.silence)?;
        if connection.to_host.is_some() {
            net::set_silence_limit(connection.output(), connection.silence)?;
        }
        Ok(connection)
    }
}

impl Connection {
    /// Where the host's bytes come from.
    pub fn input(&self) -> BorrowedFd<'_> {
        self.from_host.as_fd()
    }

    /// Where bytes for the host go.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.to_host.as_ref().unwrap_or(&self.from_host).as_fd()
    }

    /// The longest that either may stand still (DISTCC_IO_TIMEOUT).
    pub fn silence(&self) -> Duration {
        self.silence
    }
}

/// `ssh [-l USER] HOST COMMAND --inetd --enable-tcp-insecure`: whoever may log in may run anything anyway.
fn ssh_command(ssh: &[OsString], user: Option<&str>, host: &str, command: Option<&str>) -> Vec<OsString> {
    let mut argv = if ssh.is_empty() { vec!["ssh".into()] } else { ssh.to_vec() };
    if let Some(user) = user {
        argv.extend(["-l".into(), user.into()]);
    }
    argv.push(host.into());
    argv.push(command.unwrap_or(SSH_DAEMON).into());
    argv.extend(["--inetd".into(), "--enable-tcp-insecure".into()]);
    argv
}

/// ssh would take a name with a dash in front for an option, and options of ssh run commands.
fn check_ssh_name(name: &str) -> io::Result<()> {
    if name.starts_with('-') {
        let text = format!("{name:?} is an option and no host's name");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

fn start_ssh(
    argv: &[OsString],
    settings: &Settings,
    environment: &Environment,
    messages: Option<BorrowedFd<'_>>,
) -> io::Result<Connection> {
    let program = child::candidates(&argv[0], &settings.search_path).next().ok_or_else(|| {
        let text = format!("{} is not on PATH (see DISTCC_SSH)", argv[0].display());
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    // Two pairs, because ssh closes its standard output and input at different times.
    let (to_host, ssh_input) = net::pair()?;
    let (from_host, ssh_output) = net::pair()?;
    let child = Command {
        program: &program,
        argv,
        environment,
        directory: None,
        stdio: [Some(ssh_input.as_fd()), Some(ssh_output.as_fd()), messages],
        group: Group::Shared,
        walls: None,
    }
    .spawn()?;
    Ok(Connection {
        from_host: from_host.into(),
        to_host: Some(to_host.into()),
        silence: settings.io_timeout,
        _ssh: Some(CleanupChild::new(child.pid())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_told_user_host_and_daemon() {
        let ssh = |user, command| {
            let argv = ssh_command(&["ssh".into(), "-v".into()], user, "build3", command);
            argv.join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(ssh(None, None), "ssh -v build3 distccd --inetd --enable-tcp-insecure");
        assert_eq!(
            ssh(Some("me"), Some("/opt/distccd")),
            "ssh -v -l me build3 /opt/distccd --inetd --enable-tcp-insecure"
        );
    }

    #[test]
    fn hosts_are_no_options_for_ssh() {
        assert!(check_ssh_name("build-3").is_ok());
        let error = check_ssh_name("-oProxyCommand=sh").unwrap_err();
        assert!(error.to_string().contains("no host's name"), "{error}");
    }
}
