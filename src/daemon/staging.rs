//! Work that takes long: unpacking a source or a tree, comparing headers, packing a result. Small pieces are done in
//! place; large ones on a few threads, so that one big job does not hold up the event loop. See "What runs beside the
//! loop" in docs/design-notes.md for the sum.

use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use mio::Waker;

use crate::daemon::authentication;
use crate::daemon::file_set::Buffers;
use crate::daemon::job::{Job, RunningJob, Workshop};
use crate::daemon::receiving::Source;
use crate::daemon::refusal::Refusal;
use crate::daemon::reply::{Output, Reply};
use crate::daemon::system_headers::Question;
use crate::daemon::workers::ConnectionId;
use crate::exit_code::{ExitCode, WaitStatus};
use crate::protocol::limits::BODIES_BYTES_MAX;
use crate::protocol::lzo::{self, Compressor, LzoError};
use crate::protocol::{ProtocolError, Version};
use crate::{log_error, log_warning};

/// Work on more bytes than this leaves the loop: at LZO's half a gigabyte a second it is about two milliseconds.
const INLINE_BYTES_MAX: u64 = 1 << 20;
/// Threads for the rest: two keep one huge body from delaying the next.
const THREADS_MIN: usize = 2;
/// Processors that one thread starts pump jobs for. A start takes it 2 to 3 ms, so that it serves eight processors whose
/// jobs take 25 ms, and C sources take more.
const PROCESSORS_EACH: usize = 8;

/// The largest source after unpacking, in bytes: what an uncompressed one may have.
const SOURCE_BYTES_MAX: usize = BODIES_BYTES_MAX as usize;

/// A piece of work.
#[derive(Debug)]
pub enum Work {
    /// Unpack a source, an LZO stream, within its file.
    Unpack(Source),
    /// Compare system headers.
    Compare(Question),
    /// Judge a client's token.
    Authenticate(Box<authentication::Question>),
    /// Start a compiler. The threads live until [`Staging`] is dropped, and so do compilers they start.
    Launch(Job),
    /// Make the reply.
    Pack {
        /// The version to answer in.
        version: Version,
        /// How the compiler ended.
        status: WaitStatus,
        /// What it left.
        output: Output,
    },
}

/// What became of it.
#[derive(Debug)]
pub enum Staged {
    /// The source is in its file.
    Unpacked(Result<Job, Refusal>),
    /// The headers are the same, or not.
    Compared(Result<(), Refusal>),
    /// The token is judged.
    Authenticated(Box<authentication::Answer>),
    /// The compiler runs, or not.
    Launched(Box<Result<RunningJob, Refusal>>),
    /// The reply is ready to be sent.
    Packed(io::Result<Reply>),
}

/// Memory that is used for piece after piece.
#[derive(Debug, Default)]
pub struct Tools {
    /// For bodies that leave.
    pub compressor: Compressor,
    /// For files that came.
    pub buffers: Buffers,
}

impl Work {
    fn is_small(&self) -> bool {
        match self {
            Work::Unpack(source) => u64::from(source.bytes) <= INLINE_BYTES_MAX / 4,
            Work::Authenticate(_) | Work::Compare(_) | Work::Launch(_) => false,
            Work::Pack { version, output, .. } => !version.compresses() || output.bytes() <= INLINE_BYTES_MAX,
        }
    }

    fn run(self, workshop: &Workshop, tools: &mut Tools) -> Staged {
        match self {
            Work::Unpack(source) => Staged::Unpacked(unpack(source, workshop)),
            Work::Compare(question) => {
                let exposure = workshop.exposures.of(&question.program);
                Staged::Compared(workshop.system_headers.compare(question, &exposure))
            }
            Work::Authenticate(question) => Staged::Authenticated(Box::new(question.answer())),
            Work::Launch(job) => {
                let launched = job.launch(workshop, &mut tools.buffers);
                // A job that was refused may have had the largest files.
                tools.buffers.shrink();
                Staged::Launched(Box::new(launched))
            }
            Work::Pack { version, status, output } => {
                Staged::Packed(Reply::finished(version, status, output, &mut tools.compressor))
            }
        }
    }
}

fn unpack(source: Source, workshop: &Workshop) -> Result<Job, Refusal> {
    let Source { mut job, mut file, bytes, patron } = source;
    let mut compressed = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut compressed))
        .map_err(|error| Refusal::temporary_file("read", &error))?;
    let cannot_write = |error: io::Error| Fault(Refusal::temporary_file("write", &error));
    file.rewind().and_then(|()| file.set_len(0)).map_err(|error| cannot_write(error).0)?;
    // It takes the place of what came, which is counted already.
    let mut counted = u64::from(bytes);
    lzo::decompress_to(&compressed, SOURCE_BYTES_MAX, |piece| {
        if patron.has_left() {
            return Err(Fault(Refusal::new(ExitCode::IoError, "the client has left")));
        }
        let more = (piece.len() as u64).saturating_sub(counted);
        counted -= piece.len() as u64 - more;
        job.spool(more, &workshop.pools.spool).map_err(Fault)?;
        file.write_all(piece).map_err(cannot_write)
    })
    .map_err(|fault| fault.0)?;
    Ok(Job::Plain(job))
}

/// Why a source is not unpacked.
struct Fault(Refusal);

impl From<LzoError> for Fault {
    fn from(error: LzoError) -> Fault {
        let text = format!("bad request: the source: {error}");
        Fault(Refusal::new(ProtocolError::from(error).exit_code(), text))
    }
}

/// A piece of work that waits for a thread, unless it was taken back.
type Waiting = Arc<Mutex<Option<Work>>>;
type Todo = (ConnectionId, Waiting);
type Done = (ConnectionId, Staged);

/// The threads, started when first needed. Dropping it ends them and drops what they have not done: the
/// directories of its jobs go.
#[derive(Debug)]
pub struct Staging {
    workshop: Arc<Workshop>,
    waker: Arc<Waker>,
    done_sender: Sender<Done>,
    done: Receiver<Done>,
    queue: Option<Sender<Todo>>,
    /// What is queued or under way.
    waiting: HashMap<ConnectionId, Waiting>,
    threads: Vec<JoinHandle<()>>,
    is_ending: Arc<AtomicBool>,
}

impl Staging {
    /// `waker` wakes the loop when a piece of work is done.
    pub fn new(workshop: Arc<Workshop>, waker: Waker) -> Staging {
        let (done_sender, done) = mpsc::channel();
        let (queue, threads, is_ending) = (None, Vec::new(), Arc::default());
        let (waker, waiting) = (Arc::new(waker), HashMap::new());
        Staging { workshop, waker, done_sender, done, queue, waiting, threads, is_ending }
    }

    /// Does a small piece at once and returns it; queues a large one. Where no thread can be had, all are small.
    pub fn submit(&mut self, id: ConnectionId, work: Work, tools: &mut Tools) -> Option<Staged> {
        if work.is_small() {
            return Some(work.run(&self.workshop, tools));
        }
        if self.queue.is_none() {
            self.start_threads();
        }
        match &self.queue {
            Some(queue) => {
                let work: Waiting = Arc::new(Mutex::new(Some(work)));
                self.waiting.insert(id, Arc::clone(&work));
                queue.send((id, work)).expect("BUG: the threads live as long as their queue");
            }
            None => return Some(work.run(&self.workshop, tools)),
        }
        None
    }

    /// The next finished piece, if any.
    pub fn next_done(&mut self) -> Option<(ConnectionId, Staged)> {
        let done = self.done.try_recv().ok()?;
        self.waiting.remove(&done.0);
        Some(done)
    }

    /// Takes back what is queued for a connection that is gone: clients that leave at once must not leave a queue of
    /// work for nobody. What is under way is done.
    pub fn cancel(&mut self, id: ConnectionId) {
        if let Some(work) = self.waiting.remove(&id) {
            drop(take(&work));
        }
    }

    /// Ends the threads, and returns what was done and not fetched; what was not begun is dropped.
    pub fn finish(&mut self) -> Vec<Staged> {
        self.is_ending.store(true, Ordering::Relaxed);
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.waiting.clear();
        self.done.try_iter().map(|(_, staged)| staged).collect()
    }

    fn start_threads(&mut self) {
        let (queue, work) = mpsc::channel::<Todo>();
        let work = Arc::new(Mutex::new(work));
        let processors = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..THREADS_MIN.max(processors / PROCESSORS_EACH) {
            let (waker, done, work) = (Arc::clone(&self.waker), self.done_sender.clone(), Arc::clone(&work));
            let (is_ending, workshop) = (Arc::clone(&self.is_ending), Arc::clone(&self.workshop));
            let thread =
                thread::Builder::new().spawn(move || do_work(&workshop, &work, &done, &waker, &is_ending));
            match thread {
                Ok(thread) => self.threads.push(thread),
                Err(error) => log_warning!("start a thread for large bodies: {error}"),
            }
        }
        self.queue = (!self.threads.is_empty()).then_some(queue);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.finish();
    }
}

fn take(work: &Mutex<Option<Work>>) -> Option<Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn do_work(
    workshop: &Workshop,
    work: &Mutex<Receiver<Todo>>,
    done: &Sender<Done>,
    waker: &Waker,
    is_ending: &AtomicBool,
) {
    let mut tools = Tools::default();
    loop {
        let next = work.lock().expect("BUG: a staging thread panicked").recv();
        let Ok((id, work)) = next else { return };
        let Some(work) = take(&work).filter(|_| !is_ending.load(Ordering::Relaxed)) else { continue };
        let is_heard = done.send((id, work.run(workshop, &mut tools))).is_ok();
        if is_heard && let Err(error) = waker.wake() {
            log_error!("wake the event loop: {error}");
        }
    }
}
