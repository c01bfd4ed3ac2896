//! The event loop: sockets, signals, compilers and clocks become events of connections, and what a connection asks
//! for is done here. Knows when; [`crate::daemon::connection`] knows what.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::daemon::access::Access;
use crate::daemon::authentication::Authentication;
use crate::daemon::capacity;
use crate::daemon::client::{Client, Watch};
use crate::daemon::connection::Connection;
use crate::daemon::crowd::{Admission, Crowd};
use crate::daemon::exchange::ConnectionLimits;
use crate::daemon::exchange::{Context, Event, Next};
use crate::daemon::job::Workshop;
use crate::daemon::listeners::Listeners;
use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::daemon::staging::{Staged, Staging, Tools};
use crate::daemon::statistics::{Levels, Occurrence, Reporter};
use crate::daemon::upkeep::Upkeep;
use crate::daemon::workers::{ConnectionId, Workers};
use crate::exit_code::ExitCode;
use crate::sys::child;
use crate::sys::net;
use crate::sys::signal::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGTERM, SignalFile};
use crate::{log_error, log_info, log_notice};

const SIGNALS: Token = Token(0);
const STAGED: Token = Token(1);
const LISTENER_FIRST: usize = 2;
/// Room for listeners below the tokens of connections.
const CONNECTION_FIRST: usize = 1 << 16;
/// Events taken from the kernel at once.
const EVENTS_AT_ONCE: usize = 256;
/// One read from a client, in bytes: a preprocessed source in a few calls.
const READ_BYTES: usize = 256 << 10;
/// Reads from one client before the others have their turn.
const READS_IN_A_ROW_MAX: u32 = 16;
/// Clients accepted before others have their turn.
const ACCEPTED_IN_A_ROW_MAX: usize = 256;
/// After SIGTERM, how long running compilers may take to finish.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);

/// What the server serves with.
#[derive(Debug)]
pub struct Service {
    /// What all jobs share.
    pub workshop: Arc<Workshop>,
    /// What connections are held to.
    pub limits: ConnectionLimits,
    /// Who may connect.
    pub access: Access,
    /// How clients say who they are, where they must.
    pub authentication: Option<Arc<Authentication>>,
    /// Compilers at once.
    pub jobs: usize,
    /// `--connections`, if given.
    pub connections: Option<usize>,
    /// `--connections-per-client`.
    pub connections_each: usize,
    /// `--queue`.
    pub queue: usize,
    /// What it does for itself.
    pub upkeep: Upkeep,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The only client is served (inetd).
    Served,
    /// A signal asked for it; everything is cleaned up.
    Signal(i32),
}

/// The server.
pub struct Server {
    service: Service,
    poll: Poll,
    signals: SignalFile,
    staging: Staging,
    workers: Workers,
    listeners: Listeners,
    clients: HashMap<ConnectionId, Client>,
    next_id: ConnectionId,
    crowd: Crowd,
    /// Who counts, if anybody does.
    reporter: Option<Reporter>,
    tools: Tools,
    buffer: Vec<u8>,
    /// Clients with more to read than their turn allowed.
    unread: Vec<ConnectionId>,
    /// No deadline is earlier than this.
    next_deadline: Option<Instant>,
    /// The signal that asked for the end, and when patience runs out.
    stopping: Option<(i32, Instant)>,
}

impl Server {
    /// Prepares the loop. Call it before any thread is started: it blocks the signals it reads.
    pub fn new(service: Service) -> io::Result<Server> {
        let poll = Poll::new()?;
        let signals = SignalFile::open(&[SIGCHLD, SIGTERM, SIGINT, SIGALRM, SIGHUP])?;
        let signal_fd = signals.file().as_raw_fd();
        poll.registry().register(&mut SourceFd(&signal_fd), SIGNALS, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STAGED)?;
        let staging = Staging::new(Arc::clone(&service.workshop), waker);
        child::adopt_orphans();
        let connections = capacity::connections(service.connections, service.jobs);
        Ok(Server {
            workers: Workers::new(service.jobs, service.queue),
            crowd: Crowd::new(connections, service.connections_each),
            service,
            poll,
            signals,
            staging,
            listeners: Listeners::default(),
            clients: HashMap::new(),
            next_id: 0,
            reporter: None,
            tools: Tools::default(),
            buffer: vec![0; READ_BYTES],
            unread: Vec::new(),
            next_deadline: None,
            stopping: None,
        })
    }

    /// Adds a listening socket.
    pub fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        let token = Token(LISTENER_FIRST + self.listeners.len());
        self.listeners.add(listener, self.poll.registry(), token)
    }

    /// Tells this reporter what happens from now on.
    pub fn report_to(&mut self, reporter: Reporter) {
        self.reporter = Some(reporter);
    }

    /// Adds the one client of inetd mode, whose two directions may be two descriptors.
    pub fn serve_streams(&mut self, reader: OwnedFd, writer: OwnedFd, now: Instant) -> io::Result<()> {
        let (peer, denied) = match net::peer_of(reader.as_fd()) {
            None => ("NOTSOCKET".to_string(), None),
            Some(None) => ("LOCALSOCKET".to_string(), None),
            Some(Some(address)) => (peer_name(address), self.denied(address.ip())),
        };
        let origin = Origin::Only;
        net::set_nonblocking(reader.as_fd())?;
        net::set_nonblocking(writer.as_fd())?;
        let authentication = self.service.authentication.as_ref();
        let connection = Connection::new(peer, origin, denied, authentication, &self.service.limits, now);
        let Admission::Welcome(seat) = self.crowd.enter(origin) else {
            unreachable!("BUG: there is no room for the first client")
        };
        let id = self.add_client(Client::new(connection, seat, reader, Some(writer)));
        self.watch(id, Watch::Input)?;
        self.read_from(id);
        Ok(())
    }

    /// Runs until a signal ends it, or until the only client of inetd mode is served.
    pub fn run(&mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        self.service.upkeep.ready();
        loop {
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
            let timeout = self.timeout(Instant::now());
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for id in std::mem::take(&mut self.unread) {
                self.read_from(id);
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.on_signals(),
                    STAGED => self.on_staged(),
                    Token(token) if token < CONNECTION_FIRST => self.accept_from(token - LISTENER_FIRST),
                    Token(token) => {
                        let id = (token - CONNECTION_FIRST) as ConnectionId;
                        if event.is_writable() {
                            self.send_to(id);
                        }
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            self.read_from(id);
                        }
                    }
                }
            }
            self.on_clock(Instant::now());
            self.start_waiting_jobs();
            self.report_levels();
        }
    }

    fn report_levels(&mut self) {
        let Some(reporter) = &mut self.reporter else { return };
        let (running, waiting) = (self.workers.running(), self.workers.waiting());
        reporter.tell_levels(Levels { running, waiting, clients: self.clients.len() });
    }

    fn report(&self, what: impl FnOnce(Instant) -> Option<Occurrence>) {
        let Some(reporter) = &self.reporter else { return };
        let now = Instant::now();
        if let Some(occurrence) = what(now) {
            reporter.tell(now, occurrence);
        }
    }

    fn ended(&self) -> Option<Ended> {
        let quiet = self.clients.is_empty() && self.workers.is_idle();
        match self.stopping {
            Some((signal, patience)) if quiet || Instant::now() >= patience => Some(Ended::Signal(signal)),
            None if quiet && self.listeners.is_empty() => Some(Ended::Served),
            _ => None,
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let stop = self.stopping.map(|(_, patience)| patience);
        [self.next_deadline, stop, self.listeners.again_at(), self.service.upkeep.deadline()]
            .into_iter()
            .flatten()
            .min()
            .map(|deadline| deadline.saturating_duration_since(now))
    }

    // Clients come.

    fn accept_from(&mut self, index: usize) {
        for _ in 0..ACCEPTED_IN_A_ROW_MAX {
            if self.stopping.is_some() {
                return;
            }
            let Some((stream, address)) = self.listeners.accept(index) else { return };
            log_info!("connection from {}", peer_name(address));
            self.report(|_| Some(Occurrence::Connected));
            let origin = Origin::of(address.ip());
            let admission = match self.denied(address.ip()) {
                Some(denied) => self.crowd.turn_away(denied),
                None => self.crowd.enter(origin),
            };
            let (seat, denied) = match admission {
                Admission::Welcome(seat) => (seat, None),
                Admission::Apology(seat, refusal) => (seat, Some(refusal)),
                Admission::Dropped => {
                    self.report(|_| Some(Occurrence::Dropped));
                    log_info!("{} is dropped: there are too many clients to tell each", peer_name(address));
                    continue;
                }
            };
            let now = Instant::now();
            let (peer, authentication) = (peer_name(address), self.service.authentication.as_ref());
            let connection = Connection::new(peer, origin, denied, authentication, &self.service.limits, now);
            let id = self.add_client(Client::new(connection, seat, stream.into(), None));
            self.read_from(id);
        }
        self.listeners.resume_at(Instant::now());
    }

    fn accept_from_all(&mut self) {
        self.listeners.resume();
        for index in 0..self.listeners.len() {
            self.accept_from(index);
        }
    }

    fn denied(&self, client: IpAddr) -> Option<Refusal> {
        if self.service.access.permits(client) {
            return None;
        }
        let client = client.to_canonical();
        log_error!("connection from client '{client}' denied by access list");
        let reason = format!(
            "client {client} is not in this server's access list; to admit it, start distccd with --allow {client}"
        );
        Some(Refusal::new(ExitCode::AccessDenied, reason))
    }

    fn add_client(&mut self, client: Client) -> ConnectionId {
        let id = self.next_id;
        self.next_id += 1;
        self.clients.insert(id, client);
        self.note_deadline(id);
        id
    }

    fn watch(&mut self, id: ConnectionId, watch: Watch) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        client.watch(watch, self.poll.registry(), Token(CONNECTION_FIRST + id as usize))
    }

    // Clients speak.

    fn read_from(&mut self, id: ConnectionId) {
        for _ in 0..READS_IN_A_ROW_MAX {
            let Some(client) = self.clients.get(&id) else { return };
            let mut buffer = std::mem::take(&mut self.buffer);
            let result = client.read(&mut buffer);
            match result {
                Ok(0) => self.dispatch(id, Event::HungUp),
                Ok(count) => self.dispatch(id, Event::Bytes(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.buffer = buffer;
                    if let Err(error) = self.watch(id, Watch::Input) {
                        log_error!("watch a connection: {error}");
                        self.dispatch(id, Event::HungUp);
                    }
                    return;
                }
                Err(_) => self.dispatch(id, Event::HungUp),
            }
            self.buffer = buffer;
            if matches!(result, Ok(0) | Err(_)) {
                return;
            }
        }
        if !self.unread.contains(&id) {
            self.unread.push(id);
        }
    }

    fn send_to(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let next = client.send(&self.service.limits, Instant::now());
        let is_blocked = matches!(next, Next::Wait);
        self.follow(id, next);
        if is_blocked && self.watch(id, Watch::InputAndOutput).is_err() {
            self.close(id);
        }
        self.note_deadline(id);
    }

    // Connections ask.

    fn dispatch(&mut self, id: ConnectionId, event: Event<'_>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut context = Context {
            workshop: &self.service.workshop,
            limits: &self.service.limits,
            compressor: &mut self.tools.compressor,
            now: Instant::now(),
        };
        let is_launch = matches!(event, Event::Staged(Staged::Launched(_)));
        let next = client.connection.on_event(event, &mut context);
        if is_launch && !matches!(next, Next::Running(_)) {
            self.workers.not_started(id);
        }
        // Before the reply leaves: whoever has it may rely on the job having left nothing behind.
        if let Some(remains) = client.connection.take_remains() {
            self.workers.bury(remains);
        }
        self.follow(id, next);
        self.note_deadline(id);
    }

    fn follow(&mut self, id: ConnectionId, next: Next) {
        match next {
            Next::Wait => {}
            Next::Stage(work) => {
                if let Some(staged) = self.staging.submit(id, work, &mut self.tools) {
                    self.dispatch(id, Event::Staged(staged));
                }
            }
            Next::Queue => {
                let Some(client) = self.clients.get(&id) else { return };
                match self.workers.enqueue(id, client.connection.origin()) {
                    Ok(()) => self.start_waiting_jobs(),
                    Err(refusal) => self.dispatch(id, Event::NoSlot(refusal)),
                }
            }
            Next::Running(pid) => {
                if let Some(status) = self.workers.started(pid, id) {
                    self.dispatch(id, Event::Exited(status));
                }
            }
            Next::Send => {
                // Whoever is answered waits for no compiler any more.
                self.workers.cancel(id);
                self.send_to(id);
            }
            Next::Close => self.close(id),
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.remove(&id) else { return };
        client.connection.log_summary(Instant::now());
        self.report(|now| Some(Occurrence::Ended(Box::new(client.connection.ending(now)?))));
        self.workers.cancel(id);
        self.staging.cancel(id);
        self.crowd.leave(client.seat);
        client.leave(self.poll.registry());
    }

    // Compilers start and end.

    fn start_waiting_jobs(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        while let Some(id) = self.workers.next_to_start() {
            self.dispatch(id, Event::Slot);
        }
    }

    fn on_signals(&mut self) {
        while let Some(signal) = self.signals.read() {
            match signal {
                SIGCHLD => {
                    while let Some((id, status)) = self.workers.next_exited() {
                        self.dispatch(id, Event::Exited(status));
                    }
                }
                SIGHUP => self.service.upkeep.reload(),
                _ => self.stop(signal),
            }
        }
    }

    fn on_staged(&mut self) {
        while let Some((id, staged)) = self.staging.next_done() {
            match self.clients.contains_key(&id) {
                true => self.dispatch(id, Event::Staged(staged)),
                // The client left while its job was on a thread.
                false => self.end_unheard(staged),
            }
        }
    }

    /// A compiler that was started for nobody is ended, and its tree removed.
    fn end_unheard(&mut self, staged: Staged) {
        if let Staged::Launched(launched) = staged
            && let Ok(running) = *launched
        {
            running.kill();
            let (_, remains) = running.collect();
            self.workers.bury(remains);
        }
    }

    // Time passes.

    fn note_deadline(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get(&id) else { return };
        if let Some(deadline) = client.connection.deadline()
            && self.next_deadline.is_none_or(|next| deadline < next)
        {
            self.next_deadline = Some(deadline);
        }
    }

    fn on_clock(&mut self, now: Instant) {
        self.service.upkeep.on_clock(now, self.workers.running());
        if self.listeners.again_at().is_some_and(|again| again <= now) {
            self.accept_from_all();
        }
        if self.next_deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let overdue: Vec<ConnectionId> = self
            .clients
            .iter()
            .filter(|(_, client)| client.connection.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.dispatch(id, Event::TimeOut);
        }
        self.next_deadline = self.clients.values().filter_map(|client| client.connection.deadline()).min();
    }

    /// Stops taking work. Compilers that run may finish within [`SHUTDOWN_TIME_MAX`]; a second signal ends them.
    fn stop(&mut self, signal: i32) {
        let now = Instant::now();
        if self.stopping.is_some() {
            log_notice!("told to stop again: ending {} running compilers", self.workers.running());
            self.kill_everything();
            self.stopping = Some((signal, now));
            return;
        }
        log_notice!(
            "told to stop by signal {signal}: {} jobs may finish within {} s",
            self.workers.running(),
            SHUTDOWN_TIME_MAX.as_secs()
        );
        self.service.upkeep.stopping(self.workers.running());
        self.stopping = Some((signal, now + SHUTDOWN_TIME_MAX));
        self.listeners.close(self.poll.registry());
        let unstarted: Vec<ConnectionId> = self
            .clients
            .iter()
            .filter(|(_, client)| client.connection.is_unstarted())
            .map(|(id, _)| *id)
            .collect();
        for id in unstarted {
            self.close(id);
        }
    }

    fn kill_everything(&mut self) {
        for client in self.clients.values_mut() {
            client.connection.kill_compiler();
        }
    }

    /// Ends what still runs and removes what jobs left. Called once, after [`Server::run`].
    pub fn shut_down(mut self) {
        self.kill_everything();
        // Killed processes are gone within milliseconds; the bound is for one stuck in the kernel.
        let give_up = Instant::now() + SHUTDOWN_TIME_MAX;
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        while !self.workers.is_idle() && Instant::now() < give_up {
            self.service.upkeep.on_clock(Instant::now(), self.workers.running());
            self.on_signals();
            self.on_staged();
            while let Some((id, status)) = self.workers.next_exited() {
                self.dispatch(id, Event::Exited(status));
            }
            let _ = self.poll.poll(&mut events, Some(Duration::from_millis(10)));
        }
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
        // What a thread was too late to report.
        for staged in self.staging.finish() {
            self.end_unheard(staged);
        }
        log_notice!("stopped");
    }
}

/// `ADDRESS:PORT` as 3.4's log shows it, without brackets around IPv6; IPv4 clients of an IPv6 socket are shown
/// as IPv4.
fn peer_name(address: SocketAddr) -> String {
    format!("{}:{}", address.ip().to_canonical(), address.port())
}

/// The address a listener is bound to, for the log.
pub fn bound_address(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
}
