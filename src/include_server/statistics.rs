//! The numbers of option `-s`: how long answers took and what they cost. Does not know where they are printed to.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io::Write as _;
use std::time::Duration;

use crate::include_scan::{Closure, Counters};

/// Times of the answers so far.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    count: u32,
    total: Duration,
    shortest: Option<Duration>,
    longest: Duration,
}

impl Statistics {
    /// Takes note of an answer, and prints the block for it. `before` and `now` are the scanner's counters around it.
    pub(super) fn note(
        &mut self,
        source: &OsStr,
        time: Duration,
        before: Counters,
        now: Counters,
        closure: &Closure,
    ) {
        self.count += 1;
        self.total += time;
        self.shortest = Some(self.shortest.map_or(time, |least| least.min(time)));
        self.longest = self.longest.max(time);
        // Whoever closed standard output does not want it.
        let _ = std::io::stdout().write_all(self.block(source, time, before, now, closure).as_bytes());
    }

    fn block(
        &self,
        source: &OsStr,
        time: Duration,
        before: Counters,
        now: Counters,
        closure: &Closure,
    ) -> String {
        let milliseconds = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1000.0);
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = text.write_fmt(words);
            text.push('\n');
        };
        line(format_args!("TRANSLATION_UNIT: {}", source.display()));
        line(format_args!(
            "TIME: last {} min {} max {} average {} #: {}, total {}",
            milliseconds(time),
            milliseconds(self.shortest.unwrap_or_default()),
            milliseconds(self.longest),
            milliseconds(self.total / self.count.max(1)),
            self.count,
            milliseconds(self.total)
        ));
        line(format_args!("PARSING: total count {}, new files {}", now.reads, now.reads - before.reads));
        line(format_args!(
            "COUNTER: sys_stat_counter {}, of this answer {}",
            now.looks,
            now.looks - before.looks
        ));
        line(format_args!("SIZE: calculated_closure_nonsys {}", closure.files.len()));
        line(format_args!("SIZE: symbolic_links {}", closure.links.len()));
        line(format_args!("SIZE: directories {}", closure.directories.len()));
        line(format_args!("SIZE: system_headers {}", closure.system_headers.len()));
        text.push('\n');
        text
    }
}
