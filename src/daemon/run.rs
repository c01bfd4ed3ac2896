//! From a configuration to a running server: privileges, log, directories, sockets, background.
//!
//! The order matters: the log is opened by the user the daemon will be, and what keeps it from starting is reported
//! before it leaves the terminal, by message and by exit status.

use std::fs;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::access::Access;
use crate::daemon::allow_file::AllowFile;
use crate::daemon::allowance::Pools;
use crate::daemon::announcer::{self, Announcer};
use crate::daemon::authentication::Authentication;
use crate::daemon::compilers::Compilers;
use crate::daemon::config::{AuthenticationConfig, Config, LogTarget, Mode, SandboxMode};
use crate::daemon::exchange::ConnectionLimits;
use crate::daemon::exposures::Exposures;
use crate::daemon::file_set::UNPACKED_BYTES_MAX;
use crate::daemon::job::{DIRECTORY_PREFIX, Environments, Workshop};
use crate::daemon::manager::{self, Manager};
use crate::daemon::passed::Passed;
use crate::daemon::principals::Principals;
use crate::daemon::sandbox::{Allotment, Sandbox};
use crate::daemon::server::{Ended, Server, Service, bound_address};
use crate::daemon::statistics::ledger::Settings;
use crate::daemon::surroundings::{self, Kept};
use crate::daemon::system_headers::SystemHeaders;
use crate::daemon::unpacked::KnownMaps;
use crate::daemon::upkeep::Upkeep;
use crate::daemon::{log_file, policy, statistics};
use crate::exit_code::ExitCode;
use crate::sys::child::Environment;
use crate::sys::confinement;
use crate::sys::exposure::Exposure;
use crate::sys::gssapi::Credential;
use crate::sys::process::{self, Fork, User};
use crate::sys::process_tree;
use crate::sys::withdrawal::{Withdrawn, withdraw};
use crate::sys::{heap, net, signal, temp};
use crate::{log_error, log_info, log_notice, log_warning};

/// Users tried, in order, when root starts the daemon without `--user`: upstream's name, Debian's, anybody's.
const USERS_DEFAULT: [&str; 3] = ["distcc", "distccd", "nobody"];

/// What the unpacked files of each job may take in memory, on average, in bytes: three times what a large C++ source
/// needs. One more may be as large as a job may be at all, and it may be of one address, which has half.
const TREE_BYTES_EACH: u64 = 64 << 20;
/// The default of `--trees`, unless the machine has little memory: it leaves a half to compilers.
const TREES_PART: u64 = 2;
/// The default of `--buffers`, in bytes: a farm's largest replies at once. Less where that is more than this part of the
/// machine's memory.
const BUFFER_BYTES_MAX: u64 = 1 << 30;
const BUFFERS_PART: u64 = 8;
/// The least default of either, in bytes: some jobs at once.
const POOL_BYTES_MIN: u64 = 64 << 20;

/// The default of `--spool`, unless the disk has less: eight requests of the largest size.
const SPOOL_BYTES_MAX: u64 = 8 << 30;
/// What it leaves of a smaller disk to everybody else: a half.
const SPOOL_PART: u64 = 2;

/// The longest `--job-lifetime` that is not for ever: a clock cannot count all the seconds that may be written.
const JOB_LIFETIME_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// What is found out before the server leaves whoever has started it.
struct Beginnings {
    compilers: Compilers,
    access: Access,
    allow_file: Option<AllowFile>,
    authentication: Option<Arc<Authentication>>,
    manager: Manager,
}

/// Serves until told to stop. `Ok(signal)` is the signal it ended for, to be passed on to whoever waits for it.
pub fn run(config: Config, passed: Passed) -> Result<Option<i32>, ExitCode> {
    heap::return_what_is_freed();
    process::keep_new_files_from_writers();
    let manager = Manager::connect(&config.environment.manager);
    if config.nice != 0
        && let Err(error) = process::be_nice(config.nice)
    {
        log_warning!("nice {}: {error}", config.nice);
    }
    if let Some(value) = config.oom_score_adjustment
        && let Err(error) = process::set_oom_score_adjustment(value)
    {
        log_warning!("set the out-of-memory score to {value}: {error}");
    }
    let user = drop_privileges(&config)?;
    let temporary = &config.environment.temporary;
    std::env::set_current_dir(temporary).map_err(|error| {
        log_error!("change to {}: {error} (see TMPDIR)", temporary.display());
        ExitCode::IoError
    })?;
    // Before there are jobs of ours: a daemon that was killed could not do it.
    let abandoned = temp::remove_abandoned(temporary, DIRECTORY_PREFIX);
    if abandoned > 0 {
        log_notice!("removed the directories of {abandoned} jobs of a daemon that was killed");
    }
    let (access, allow_file) = access(&config, user.as_deref())?;
    let authentication =
        config.authentication.as_ref().map(|wanted| authentication(wanted, &config)).transpose()?;
    let beginnings =
        Beginnings { authentication, compilers: policy::compilers(&config)?, access, allow_file, manager };
    match config.mode.clone() {
        Mode::Inetd => {
            log_file::open(&config);
            serve_one(&config, beginnings, passed.connection)
        }
        Mode::Standalone { addresses, port, detach } => {
            let listeners = match passed.listeners {
                passed if !passed.is_empty() => passed,
                _ => listen(&addresses, port, config.environment.defer_accept)?,
            };
            let visitors = match (passed.statistics, config.statistics_port) {
                (passed, _) if !passed.is_empty() => passed,
                // A visitor may say nothing, and is answered.
                (_, Some(port)) => listen(&addresses, port, false)?,
                (_, None) => Vec::new(),
            };
            // Written early, so that a file that cannot be written keeps the daemon from starting.
            let own = std::process::id() as i32;
            config.pid_file.as_deref().map(|path| PidFile::write(path, own)).transpose()?;
            // Until here whoever starts the daemon reads on standard error why it does not start.
            log_file::open(&config);
            if !detach {
                process::lead_group();
            } else if !go_on_in_background(&config, &beginnings.manager)? {
                return Ok(None);
            }
            let _pid_file = config.pid_file.as_deref().map(PidFile::guard);
            // Now, because the server itself leaves the network soon.
            let _announcer = announcer(&config, &listeners);
            serve(&config, beginnings, listeners, visitors)
        }
    }
}

/// Leaves the terminal. `false` in the process that was started, whose part is over.
fn go_on_in_background(config: &Config, manager: &Manager) -> Result<bool, ExitCode> {
    // A service manager must know whom to believe before that process speaks.
    let gate = match manager.is_there() {
        true => Some(net::pair().map_err(could_not("make a pair of sockets"))?),
        false => None,
    };
    // The parent writes the process id, so that it is there when whoever started us goes on.
    if let Fork::Parent(child) = process::fork().map_err(could_not("fork"))? {
        config.pid_file.as_deref().map(|path| PidFile::write(path, child)).transpose()?;
        manager.main_process_is(child);
        return Ok(false);
    }
    if let Some((mut own, parents)) = gate {
        drop(parents);
        // Ends with the parent, whatever becomes of that.
        let _ = own.read(&mut [0]);
    }
    process::detach_from_terminal().map_err(could_not("leave the terminal"))?;
    Ok(true)
}

/// Who may connect, and the file that says so. `user` is who the server has become, who must be able to read it.
fn access(config: &Config, user: Option<&str>) -> Result<(Access, Option<AllowFile>), ExitCode> {
    let options = config.access.clone();
    let Some(path) = config.allow_file.clone() else { return Ok((Access::new(options), None)) };
    let (file, list) = AllowFile::first(path, options).map_err(|problem| {
        let reader = user.map(|user| format!(" (it is read by user {user}, who serves)")).unwrap_or_default();
        log_error!("{problem}{reader}");
        ExitCode::BadArguments
    })?;
    if list.is_empty() {
        log_warning!("--allow-file names nobody, and there is no other --allow option: nobody may connect");
    }
    Ok((Access::new(list), Some(file)))
}

fn could_not(what: &'static str) -> impl Fn(io::Error) -> ExitCode {
    move |error| {
        log_error!("{what}: {error}");
        ExitCode::DistccFailed
    }
}

/// The process that announces the server, if that is wanted and possible: a server that nobody finds is one still.
fn announcer(config: &Config, listeners: &[TcpListener]) -> Option<Announcer> {
    if !config.zeroconf {
        return None;
    }
    let service = announcer::Service {
        jobs: config.jobs,
        addresses: listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
        search_path: config.environment.search_path.clone(),
    };
    let log = match &config.log {
        LogTarget::Stderr => process::duplicate_descriptor(2).ok(),
        LogTarget::File(path) => log_file::append_to(path).ok().map(OwnedFd::from),
        LogTarget::Syslog => None,
    };
    Announcer::start(&service, log).map_err(|error| log_warning!("{error}")).ok()
}

/// The name of the user that root has become.
fn drop_privileges(config: &Config) -> Result<Option<String>, ExitCode> {
    if !process::is_root() {
        if let Some(user) = &config.user {
            log_warning!("--user {user}: only root can become another user; staying as I am");
        }
        return Ok(None);
    }
    let found = match &config.user {
        Some(name) => User::by_name(name).or_else(|| {
            log_warning!("--user {name}: no such user; using nobody");
            User::by_name("nobody")
        }),
        None => USERS_DEFAULT.iter().find_map(|name| User::by_name(name)),
    };
    let user = found.unwrap_or_else(User::overflow);
    process::become_user(&user).map_err(|error| {
        log_error!("become user {}: {error}", user.name);
        ExitCode::SetuidFailed
    })?;
    Ok(Some(user.name))
}

/// Gets the keys of the server's principal, while there is a network and somebody to read that it failed.
fn authentication(wanted: &AuthenticationConfig, config: &Config) -> Result<Arc<Authentication>, ExitCode> {
    let failed = |why: &dyn std::fmt::Display| {
        log_error!("--auth: {why}");
        ExitCode::GssapiFailed
    };
    let list = wanted.list.as_ref().map(|(kind, file)| Principals::read(*kind, file));
    let list = list.transpose().map_err(|why| failed(&why))?;
    Credential::to_accept(&wanted.principal, &config.environment.temporary)
        .and_then(|credential| Authentication::new(credential, list))
        .map(Arc::new)
        .map_err(|why| failed(&why))
}

fn service(config: &Config, beginnings: Beginnings) -> Result<Service, ExitCode> {
    let mut environment = Environment::inherited();
    manager::hide_from_compilers(&mut environment);
    environment.set("PATH", &config.environment.search_path);
    environment.set("_DISTCC_SAFEGUARD", "1".as_ref());
    let exposure = Exposure::of_this_machine().with(&config.exposed);
    let sandbox = sandbox(config, &exposure)?;
    let kept = if config.any_compiler { Kept::Harmless } else { Kept::Needed };
    let workshop = Workshop {
        compilers: beginnings.compilers,
        temporary: config.environment.temporary.clone(),
        save_temps: config.environment.save_temps,
        environments: Environments {
            bare: surroundings::harmless(&environment, kept, true),
            with_language: surroundings::harmless(&environment, kept, false),
        },
        pools: pools(config),
        exposures: Exposures::new(exposure),
        sandbox,
        system_headers: SystemHeaders::default(),
        path_maps: KnownMaps::default(),
    };
    let workshop = Arc::new(workshop);
    let upkeep = Upkeep {
        config: config.clone(),
        access: beginnings.access.clone(),
        allow_file: beginnings.allow_file,
        workshop: Arc::clone(&workshop),
        manager: beginnings.manager,
    };
    Ok(Service {
        workshop,
        limits: ConnectionLimits {
            silence: config.environment.io_timeout,
            job_lifetime: config.job_lifetime.map(|time| time.min(JOB_LIFETIME_MAX)),
            job_memory: config.job_memory,
        },
        access: beginnings.access,
        authentication: beginnings.authentication,
        jobs: config.jobs,
        connections: config.connections,
        connections_each: config.connections_each,
        queue: config.queue,
        upkeep,
    })
}

/// What clients may make the server hold.
fn pools(config: &Config) -> Pools {
    let machine = process_tree::memory_of_machine();
    let buffers = BUFFER_BYTES_MAX.min(machine / BUFFERS_PART).max(POOL_BYTES_MIN);
    let trees = TREE_BYTES_EACH.saturating_mul(config.jobs as u64).saturating_add(UNPACKED_BYTES_MAX);
    let trees = trees.max(2 * UNPACKED_BYTES_MAX).min(machine / TREES_PART).max(POOL_BYTES_MIN);
    Pools::new(
        config.buffer_bytes.unwrap_or(buffers),
        config.tree_bytes.unwrap_or(trees),
        spool_bytes(config),
    )
}

/// What sources and files that wait may take of TMPDIR's disk, in bytes.
fn spool_bytes(config: &Config) -> u64 {
    let temporary = &config.environment.temporary;
    config.spool_bytes.unwrap_or_else(|| {
        let free = temp::free_bytes(temporary).unwrap_or_else(|error| {
            log_warning!("ask for the room in {}: {error}", temporary.display());
            u64::MAX
        });
        SPOOL_BYTES_MAX.min(free / SPOOL_PART)
    })
}

/// Says why a server does not start that would run any program for everybody, in no sandbox because of `why`.
pub fn refuse_anything_for_anybody(why: &str) -> ExitCode {
    log_error!(
        "--enable-tcp-insecure: with {why}, and no word on who may connect, whoever reaches this port could run any \
         program; name the clients (--allow=ADDR for each, or --allow-private), or see --sandbox"
    );
    ExitCode::BadArguments
}

/// Withdraws the daemon from the machine, as far as it may, and finds the walls for its compilers.
fn sandbox(config: &Config, exposure: &Exposure) -> Result<Sandbox, ExitCode> {
    let allotment = Allotment {
        memory: config.job_memory,
        processor_seconds: config.job_processor_seconds,
        daemons_expendability: process::expendability(),
    };
    let chambers = match config.sandbox {
        SandboxMode::Off => Err("--sandbox=off".to_string()),
        _ if !config.environment.namespaces => Err("DISTCCD_NAMESPACES=0".to_string()),
        SandboxMode::Auto | SandboxMode::Require => enter_namespaces(config, exposure),
    };
    let mut sandbox = Sandbox::find(config.sandbox, chambers, allotment).map_err(|why| {
        log_error!("{why}");
        ExitCode::DistccFailed
    })?;
    if !sandbox.confines() && config.serves_anybody_anything {
        return Err(refuse_anything_for_anybody("no sandbox on this machine"));
    }
    if !sandbox.confines() && config.authentication.is_some() {
        log_warning!(
            "--auth: without a sandbox, the compilers that clients start can read the keys of this server"
        );
    }
    if sandbox.confines()
        && let Err(error) = sandbox.restrain_daemon()
    {
        log_warning!("restrain the daemon itself: {error}");
        if config.sandbox == SandboxMode::Require {
            return Err(ExitCode::DistccFailed);
        }
    }
    Ok(sandbox)
}

/// The daemon enters namespaces of its own, and tries whether its compilers can have theirs. The error is for the log.
fn enter_namespaces(config: &Config, exposure: &Exposure) -> Result<(), String> {
    let parent =
        |path: &Path| path.parent().filter(|parent| *parent != Path::new("/")).map(Path::to_path_buf);
    let log = match &config.log {
        LogTarget::File(path) => parent(path),
        LogTarget::Stderr | LogTarget::Syslog => None,
    };
    let pid_file = config.pid_file.as_deref().and_then(parent);
    let writable = [Some(config.environment.temporary.clone()), log, pid_file];
    match withdraw(&writable.into_iter().flatten().collect::<Vec<_>>()) {
        Ok(Withdrawn { reads_only }) => {
            let files = if reads_only { ", and only reads most files" } else { "" };
            log_info!("the server has no capabilities and no network but its sockets{files}");
        }
        Err(why) => return Err(format!("{why}{}", confinement::advice())),
    }
    // A server for one client finds out with its job.
    if config.mode == Mode::Inetd {
        return Ok(());
    }
    let abilities = confinement::probe(exposure)?;
    if !abilities.overlays {
        log_info!("no overlayfs for users: jobs with files below system directories may be refused");
    }
    Ok(())
}

fn new_server(config: &Config, beginnings: Beginnings) -> Result<Server, ExitCode> {
    policy::announce(&beginnings.compilers);
    let server = Server::new(service(config, beginnings)?).map_err(could_not("set up the event loop"))?;
    // Only now: a fork would lose the alarm, and the server takes it for a signal to stop.
    if let Some(seconds) = config.lifetime {
        process::set_alarm(seconds);
    }
    Ok(server)
}

fn serve_one(
    config: &Config,
    beginnings: Beginnings,
    connection: Option<OwnedFd>,
) -> Result<Option<i32>, ExitCode> {
    let mut server = new_server(config, beginnings)?;
    let streams = match connection {
        Some(both) => both.as_fd().try_clone_to_owned().map(|writer| (both, writer)),
        None => process::duplicate_descriptor(0)
            .and_then(|reader| Ok((reader, process::duplicate_descriptor(1)?))),
    };
    let (reader, writer) = streams.map_err(could_not("take over standard input and output"))?;
    process::forget_standard_streams().map_err(could_not("open /dev/null"))?;
    server.serve_streams(reader, writer, Instant::now()).map_err(could_not("serve standard input"))?;
    finish(server)
}

fn serve(
    config: &Config,
    beginnings: Beginnings,
    listeners: Vec<TcpListener>,
    visitors: Vec<TcpListener>,
) -> Result<Option<i32>, ExitCode> {
    let access = beginnings.access.clone();
    let mut server = new_server(config, beginnings)?;
    for listener in listeners {
        log_notice!("listening on {}", bound_address(&listener));
        server.listen(listener).map_err(could_not("watch the listening socket"))?;
    }
    if !visitors.is_empty() {
        visitors.iter().for_each(|visitors| log_notice!("statistics on {}", bound_address(visitors)));
        let settings = Settings { jobs: config.jobs, queue: config.queue };
        let reporter = statistics::server::start(visitors, access, settings, &config.environment.temporary);
        server.report_to(reporter.map_err(could_not("start the statistics"))?);
    }
    log_info!("allowing up to {} active jobs", config.jobs);
    log_info!("daemon started ({})", env!("CARGO_PKG_VERSION"));
    finish(server)
}

fn finish(mut server: Server) -> Result<Option<i32>, ExitCode> {
    let ended = server.run().map_err(could_not("wait for events"))?;
    server.shut_down();
    Ok(match ended {
        Ended::Served => None,
        Ended::Signal(signal) => Some(signal),
    })
}

fn listen(addresses: &[SocketAddr], port: u16, defer: bool) -> Result<Vec<TcpListener>, ExitCode> {
    if addresses.is_empty() {
        return match net::listen_everywhere(port, defer) {
            Ok(listener) => Ok(vec![listener]),
            Err(error) => {
                log_error!("bind to port {port}: {error}");
                Err(ExitCode::BindFailed)
            }
        };
    }
    let bind = |address: &SocketAddr| {
        // With its scope, if it is one of a link.
        let mut address = *address;
        address.set_port(port);
        net::listen(address, defer).map_err(|error| {
            log_error!("bind to {address}: {error}");
            ExitCode::BindFailed
        })
    };
    addresses.iter().map(bind).collect()
}

/// The file that tells scripts our process id; removed on drop.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path, process: i32) -> Result<(), ExitCode> {
        fs::write(path, format!("{process}\n")).map_err(|error| {
            log_error!("write pid file {}: {error}", path.display());
            ExitCode::IoError
        })
    }

    fn guard(path: &Path) -> PidFile {
        PidFile(path.to_path_buf())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Ends the process by the signal that stopped the server, as its parent expects.
pub fn end_by(signal: i32) {
    signal::die_of(signal);
}
