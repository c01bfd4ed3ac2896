//! How long a client may take to send a request or to take a reply: silence, a total for each phase, and how slow it may
//! be on average. Knows clocks and counts of bytes; not whose they are.

use std::time::{Duration, Instant};

/// How long the beginning of a request may take, up to its last argument, however steadily it trickles: a few kilobytes,
/// which every client sends at once.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a handshake may take before a request: what it takes a client to get a ticket from a slow realm, and that it is
/// not for ever.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long what follows may take, and a reply: a gigabyte at 300 kB/s.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(3600);
/// How long a job may wait for a compile slot: twice the silence that clients bear by default, so that few of them are
/// still there. What is not begun by then is done sooner elsewhere.
const TURN_TIME_MAX: Duration = Duration::from_secs(600);
/// The slowest average of either, in bytes a second: a fifth of what a slow VPN has. Who holds connections open by
/// trickling must send a kilobyte a second on each.
const RATE_MIN: u64 = 1 << 10;
/// How long an average may be below that at first: a line that stalls is not a slow one.
const RATE_PATIENCE: Duration = Duration::from_secs(60);
/// What a client that is refused at once may take: the version, to be answered in.
const UNWANTED_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a refused client may go on sending before the connection is cut: it has its answer, and reading the
/// rest only keeps that answer from being lost to a reset.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The version of a client that will be refused.
    Unwanted,
    /// The handshake of a client that must say who it is.
    Handshake,
    /// A request as far as its arguments.
    Head,
    /// Nothing: clients of 3.4 send their arguments before they have run the preprocessor.
    Pause,
    /// The rest of a request.
    Body,
    /// Nothing: the job waits for a compile slot.
    Turn,
    /// A reply.
    Reply,
    /// A refusal, or what comes after it.
    Refusal,
}

impl Phase {
    fn time_max(self) -> Duration {
        match self {
            Phase::Unwanted => UNWANTED_TIME_MAX,
            Phase::Handshake => HANDSHAKE_TIME_MAX,
            Phase::Head => HEAD_TIME_MAX,
            Phase::Pause | Phase::Body | Phase::Reply => TRANSFER_TIME_MAX,
            Phase::Turn => TURN_TIME_MAX,
            Phase::Refusal => DRAIN_TIME_MAX,
        }
    }
}

/// A phase under way.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    phase: Phase,
    began: Instant,
    last: Instant,
    bytes: u64,
    silence: Duration,
}

impl Transfer {
    /// Begins a phase in which a client may be silent for so long (DISTCC_IO_TIMEOUT).
    pub fn begin(phase: Phase, silence: Duration, now: Instant) -> Transfer {
        Transfer { phase, began: now, last: now, bytes: 0, silence }
    }

    /// Notes that so many bytes have come or gone.
    pub fn progress(&mut self, bytes: u64, now: Instant) {
        if self.phase == Phase::Pause {
            *self = Transfer::begin(Phase::Body, self.silence, now);
        }
        self.last = now;
        self.bytes += bytes;
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it is over, unless something moves before.
    pub fn deadline(&self) -> Instant {
        let silent = self.last + self.silence;
        let late = self.began + self.phase.time_max();
        match self.phase {
            Phase::Turn | Phase::Refusal => late,
            Phase::Body | Phase::Reply => silent.min(late).min(self.slow()),
            Phase::Unwanted | Phase::Handshake | Phase::Head | Phase::Pause => silent.min(late),
        }
    }

    /// When it will have been too slow on average.
    fn slow(&self) -> Instant {
        // No connection carries so much that the time is beyond a clock's.
        self.began + RATE_PATIENCE + Duration::from_secs(self.bytes / RATE_MIN)
    }

    /// Why it is over, in words for the client. `what` was expected next.
    pub fn overrun(&self, what: &str, now: Instant) -> String {
        if now >= self.began + self.phase.time_max() {
            let phase = match self.phase {
                Phase::Handshake => "the handshake",
                Phase::Unwanted | Phase::Head => "the beginning of the request",
                Phase::Pause | Phase::Body => "the request",
                Phase::Turn => "waiting for one of the jobs at work to end (distccd --jobs)",
                Phase::Reply | Phase::Refusal => "the reply",
            };
            return format!("{phase} took more than {} s", self.phase.time_max().as_secs());
        }
        if now >= self.last + self.silence {
            return format!(
                "no byte of {what} for {} s (DISTCC_IO_TIMEOUT of distccd)",
                self.silence.as_secs()
            );
        }
        format!("{what} comes at less than {RATE_MIN} bytes a second")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(300);

    /// How long a phase lasts when so many bytes move at each interval, and why it ends.
    fn run(phase: Phase, bytes: u64, interval: u64) -> (u64, String) {
        let began = Instant::now();
        let (mut transfer, mut now) = (Transfer::begin(phase, SILENCE, began), began);
        loop {
            let next = now + Duration::from_secs(interval);
            if next > transfer.deadline() {
                let end = transfer.deadline();
                return ((end - began).as_secs(), transfer.overrun("the source", end));
            }
            now = next;
            transfer.progress(bytes, now);
        }
    }

    #[test]
    fn each_phase_has_an_end() {
        for (phase, bytes, interval, expected, why) in [
            (Phase::Unwanted, 1, 1, 2, "more than 2 s"),
            (Phase::Handshake, 1, 1, 30, "the handshake took more than 30 s"),
            (Phase::Head, 1, 1, 60, "the beginning of the request took more than 60 s"),
            (Phase::Head, 1 << 20, 20, 60, "more than 60 s"),
            (Phase::Body, 1, 1, 60, "less than 1024 bytes a second"),
            (Phase::Body, 1 << 20, 301, 60, "less than 1024 bytes a second"),
            (Phase::Body, 1 << 20, 50, 3600, "the request took more than 3600 s"),
            // A slow line lives, also when it stalls for some minutes.
            (Phase::Body, 5000, 1, 3600, "the request took"),
            (Phase::Body, 5000 * 60, 59, 3600, "the request took"),
            (Phase::Reply, 5000, 1, 3600, "the reply took"),
            (Phase::Reply, 100, 1, 66, "less than 1024 bytes a second"),
            (Phase::Refusal, 1, 1, 10, "more than 10 s"),
            (
                Phase::Turn,
                0,
                900,
                600,
                "waiting for one of the jobs at work to end (distccd --jobs) took more than 600 s",
            ),
            // The preprocessor of an old client may take its time; then the body counts by itself.
            (Phase::Pause, 5000, 299, 299 + 64, "less than 1024 bytes a second"),
            (Phase::Pause, 5000, 301, 300, "no byte of the source for 300 s"),
        ] {
            let (took, text) = run(phase, bytes, interval);
            assert_eq!(took, expected, "{phase:?} {bytes} {interval}: {text}");
            assert!(text.contains(why), "{phase:?} {bytes} {interval}: {text}");
        }
    }
}
