//! `distccd`: the server. Its command line becomes a configuration.

mod configuration;
mod options;

use std::ffi::OsString;
use std::os::fd::AsFd;

use argh::FromArgs;

use crate::applets::standard_input::Input;
use crate::daemon::config::Mode;
use crate::daemon::passed::Passed;
use crate::daemon::run;
use crate::exit_code::ExitCode;
use crate::log::{self, Level, Sink};
use crate::log_error;
use crate::protocol::PORT_DEFAULT;
use crate::sys::{process, service_manager};

use crate::applets::principal_text;
use crate::sys::gssapi;
use configuration::{configure, passed_descriptors};
use options::{Options, separate_value};

/// Runs the daemon.
pub fn run(argv: &[OsString]) -> i32 {
    let (count, names) = passed_descriptors();
    let descriptors = service_manager::take_passed_descriptors(count);
    process::close_inherited_descriptors_behind(count);
    let input = Input::of_standard_input();
    log::set("distccd", Level::Notice, if input == Input::Other { Sink::Stderr } else { Sink::Syslog });
    let passed = Passed::sort(descriptors, &names).map_err(|error| {
        log_error!("{error}");
        ExitCode::BindFailed
    });
    match passed.and_then(|passed| start(argv, input, passed)) {
        Ok(None) => 0,
        Ok(Some(signal)) => {
            run::end_by(signal);
            128 + signal
        }
        Err(code) => code.number(),
    }
}

fn start(argv: &[OsString], input: Input, passed: Passed) -> Result<Option<i32>, ExitCode> {
    let Some(options) = parse(argv)? else { return Ok(None) };
    let input = passed.connection.as_ref().map_or(input, |connection| Input::of(connection.as_fd()));
    let config = configure(options, input)?;
    let wrong = match config.mode {
        Mode::Inetd if !passed.listeners.is_empty() => {
            "--inetd: the service manager has passed listening sockets"
        }
        Mode::Standalone { .. } if passed.connection.is_some() => {
            "--daemon: the service manager has passed a connection, and no listening socket (see Accept=)"
        }
        _ => return run::run(config, passed),
    };
    log_error!("{wrong}");
    Err(ExitCode::BadArguments)
}

/// Reads the options; `None` if a question was answered instead (`--help`, `--version`).
fn parse(argv: &[OsString]) -> Result<Option<Options>, ExitCode> {
    let mut words = Vec::new();
    for word in argv.iter().skip(1) {
        let Some(word) = word.to_str() else {
            log_error!("{}: not UTF-8", word.display());
            return Err(ExitCode::BadArguments);
        };
        separate_value(word, &mut words)?;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Options::from_args(&["distccd"], &words) {
        Ok(options) if options.version => {
            say!("{}", version());
            Ok(None)
        }
        Ok(options) if options.show_principal => {
            if !gssapi::IS_BUILT_IN {
                log_error!("--show-principal: {}", gssapi::ABSENT);
                return Err(ExitCode::BadArguments);
            }
            say!("{}", principal_text(configuration::principal().as_deref()));
            Ok(None)
        }
        Ok(options) => Ok(Some(options)),
        Err(early) if early.status.is_ok() => {
            // The generated first line lists every option once more.
            let options = early.output.split_once('\n').map_or("", |(_, rest)| rest);
            say!("Usage: distccd [OPTION...]          (more in man distccd)\n{}", options.trim_end());
            Ok(None)
        }
        Err(early) => {
            for line in early.output.lines().filter(|line| !line.trim().is_empty()) {
                log_error!("{line}");
            }
            log_error!("see distccd --help");
            Err(ExitCode::BadArguments)
        }
    }
}

fn version() -> String {
    format!(
        "distccd {} {}\n  (protocols 1, 2 and 3) (default port {PORT_DEFAULT})\n\
         Free software under the GNU General Public License, version 3 or later.",
        env!("CARGO_PKG_VERSION"),
        crate::client::TRIPLE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::config::{Config, LogTarget, SandboxMode};
    use std::path::PathBuf;

    fn options(words: &[&str]) -> Result<Option<Options>, ExitCode> {
        let argv: Vec<OsString> = ["distccd"].iter().chain(words).map(OsString::from).collect();
        parse(&argv)
    }

    fn config(words: &[&str]) -> Result<Config, ExitCode> {
        configure(options(words)?.expect("an option that answers"), Input::Other)
    }

    #[test]
    fn values_are_joined_or_separate() {
        for words in [
            ["--jobs=7", "--port=99", "--allow=10.0.0.0/8", "--nice=3"].as_slice(),
            &["--jobs", "7", "--port", "99", "--allow", "10.0.0.0/8", "--nice", "3"],
            &["-j7", "-p99", "-a10.0.0.0/8", "-N3"],
            &["-j", "7", "-p", "99", "-a", "10.0.0.0/8", "-N", "3"],
            &["stray", "-j7", "words", "-p=99", "--allow=10.0.0.0/8", "--nice", "3"],
            &["-j1", "--nice=1", "--port=1", "-p99", "-a", "10.0.0.0/8", "--nice", "3", "--jobs=7"],
        ] {
            let config = config(words).unwrap();
            assert_eq!((config.jobs, config.nice), (7, 3), "{words:?}");
            assert!(config.access.permits("10.1.1.1".parse().unwrap()), "{words:?}");
            assert!(!config.access.permits("127.0.0.1".parse().unwrap()), "{words:?}");
            assert_eq!(
                config.mode,
                Mode::Standalone { addresses: vec![], port: 99, detach: true },
                "{words:?}"
            );
        }
    }

    #[test]
    fn mistakes_are_bad_arguments() {
        for words in [
            ["--bogus"].as_slice(),
            &["--port", "70000"],
            &["--port=x"],
            &["--jobs", "0"],
            &["--jobs=-3"],
            &["--jobs"],
            &["--allow", "10.0.0.0/99"],
            &["--listen", "no-such-host.invalid"],
            &["--auth"],
            &["--no-detach=yes"],
            &["--sandbox=perhaps"],
            &["--expose="],
            &["--allow-script="],
            &["--enable-tcp-insecure", "--sandbox=off"],
            &["--make-me-a-botnet", "--sandbox=off", "--listen=127.0.0.1"],
        ] {
            assert_eq!(config(words).unwrap_err(), ExitCode::BadArguments, "{words:?}");
        }
    }

    #[test]
    fn private_networks_are_the_default() {
        let config = config(&[]).unwrap();
        assert!(config.access.permits("192.168.1.1".parse().unwrap()));
        assert!(!config.access.permits("203.0.113.1".parse().unwrap()));
    }

    #[test]
    fn wizard_stays_and_talks() {
        let config = config(&["--wizard"]).unwrap();
        assert_eq!(config.log, LogTarget::Stderr);
        assert_eq!(config.log_level, Level::Debug);
        assert_eq!(config.mode, Mode::Standalone { addresses: vec![], port: 3632, detach: false });
    }

    #[test]
    fn the_sandbox_is_as_strong_as_it_can_be_unless_told_otherwise() {
        for (words, want) in [
            ([].as_slice(), SandboxMode::Auto),
            (&["--sandbox=auto"], SandboxMode::Auto),
            (&["--sandbox", "require"], SandboxMode::Require),
            (&["--sandbox=require", "--sandbox=off"], SandboxMode::Off),
        ] {
            assert_eq!(config(words).unwrap().sandbox, want, "{words:?}");
        }
        let exposed = config(&["--expose=/opt/sdk", "--expose", "/srv/gcc"]).unwrap().exposed;
        assert_eq!(exposed, [PathBuf::from("/opt/sdk"), PathBuf::from("/srv/gcc")]);
        let scripts = config(&["--allow-script=/usr/bin/zcc", "--allow-script", "/x/cc"]).unwrap().scripts;
        assert_eq!(scripts, [PathBuf::from("/usr/bin/zcc"), PathBuf::from("/x/cc")]);
    }

    #[test]
    fn any_compiler_goes_with_a_sandbox_or_known_clients() {
        for words in [
            ["--enable-tcp-insecure"].as_slice(),
            &["--enable-tcp-insecure", "--sandbox=require"],
            &["--enable-tcp-insecure", "--sandbox=off", "--allow=10.0.0.1"],
            &["--enable-tcp-insecure", "--sandbox=off", "--allow-private"],
            &["--inetd", "--enable-tcp-insecure", "--sandbox=off"],
            &["--sandbox=off"],
        ] {
            assert!(config(words).is_ok(), "{words:?}");
        }
        for (input, accepted) in [(Input::LocalSocket, true), (Input::Network, false)] {
            let options = options(&["--inetd", "--enable-tcp-insecure", "--sandbox=off"]).unwrap().unwrap();
            assert_eq!(configure(options, input).is_ok(), accepted, "{input:?}");
        }
    }

    #[test]
    fn inetd_is_for_everybody_unless_told_otherwise() {
        let admits =
            |words: &[&str], client: &str| config(words).unwrap().access.permits(client.parse().unwrap());
        assert!(admits(&["--inetd"], "203.0.113.1"));
        assert!(!admits(&["--inetd", "--allow", "10.0.0.1"], "203.0.113.1"));
    }

    #[test]
    fn a_file_of_clients_is_a_word_on_who_may_connect() {
        for words in [["--allow-file=/x"].as_slice(), &["--inetd", "--allow-file", "/x"]] {
            let config = config(words).unwrap();
            assert_eq!(config.allow_file, Some(PathBuf::from("/x")), "{words:?}");
            assert!(config.access.is_empty(), "{words:?}");
        }
        assert!(config(&["--enable-tcp-insecure", "--sandbox=off", "--allow-file=x"]).is_ok());
        assert!(config(&["--allow-file="]).is_err());
    }
}
