//! Where the time of a build went, in words and numbers: `distcc --report`. Holds sums, never the jobs themselves.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead};

use super::job::{Attempt, Job};
use super::quantiles::Quantiles;
use super::reading::{self, Lines};
use super::timeline::Timeline;

/// How many hosts, reasons and causes are told apart; all further ones are one.
const KEYS_MAX: usize = 1000;
/// What the further ones are called.
const OTHERS: &str = "(others)";
/// How many of them are listed.
const LISTED_MAX: usize = 20;
/// How many of the slowest sources are listed.
const SLOWEST: usize = 10;
/// Lines of the picture of jobs at a time.
const ROWS: u64 = 16;
/// The longest bar of that picture, in columns.
const BAR_COLUMNS: f64 = 50.0;
/// How much of a line is shown of a name or a sentence, in columns.
const TEXT_COLUMNS: usize = 66;
/// Phases in the order in which they happen.
const PHASES: [&str; 6] = ["blocked", "connect", "preprocess", "send", "compile", "receive"];

/// The sums.
#[derive(Debug, Default)]
pub struct Report {
    lines: Lines,
    hosts: BTreeMap<String, HostSums>,
    /// Why commands were not to be distributed.
    reasons: BTreeMap<String, Sum>,
    /// Why jobs ran here after all.
    fallbacks: BTreeMap<String, Sum>,
    /// The slowest: duration, source, host.
    slowest: Vec<(Reverse<u64>, String, String)>,
    all: Timeline,
    away: Timeline,
    began: Option<u64>,
    ended: u64,
    total: Totals,
}

/// How often, and how long.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    time: u64,
}

#[derive(Debug, Default)]
struct Totals {
    away: u64,
    local: u64,
    failed: u64,
    time: u64,
}

#[derive(Debug, Default)]
struct HostSums {
    done: u64,
    pump: u64,
    phases: BTreeMap<String, Quantiles>,
    sent: u64,
    received: u64,
    source_bytes: u64,
    result_bytes: u64,
    failures: BTreeMap<String, Sum>,
}

/// Reads a whole record.
pub fn read(record: impl BufRead) -> io::Result<Report> {
    let mut report = Report::default();
    report.lines = reading::each_job(record, |job| report.add(&job))?;
    Ok(report)
}

/// The sums under a name, of which there are only so many.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, key: &str) -> &'a mut T {
    let key = if map.len() < KEYS_MAX || map.contains_key(key) { key } else { OTHERS };
    map.entry(key.to_owned()).or_default()
}

impl Sum {
    fn add(&mut self, time: u64) {
        self.count += 1;
        self.time = self.time.saturating_add(time);
    }
}

impl Report {
    fn add(&mut self, job: &Job) {
        self.began = Some(self.began.map_or(job.start, |began| began.min(job.start)));
        self.ended = self.ended.max(job.start + job.duration);
        self.total.time = self.total.time.saturating_add(job.duration);
        self.all.add(job.start, job.duration);
        let is_away = matches!(job.mode.as_str(), "plain" | "pump");
        self.total.away += u64::from(is_away);
        self.total.local += u64::from(!is_away);
        self.total.failed += u64::from(job.status.is_some_and(|status| status != 0));
        match (&job.reason, &job.fallback) {
            (Some(reason), _) => entry(&mut self.reasons, reason).add(job.duration),
            (None, Some(cause)) => entry(&mut self.fallbacks, cause).add(job.duration),
            (None, None) => {}
        }
        for attempt in &job.attempts {
            self.away.add(attempt.start, attempt.duration);
            self.add_attempt(job, attempt);
        }
        for phase in &job.phases {
            // A phase names the host, an attempt the word of the list.
            let during = |attempt: &&Attempt| {
                attempt.start <= phase.start && phase.start < attempt.start + attempt.duration.max(1)
            };
            let attempt = job.attempts.iter().find(during).filter(|_| phase.host != "localhost");
            let host = match attempt {
                Some(attempt) => attempt.host.as_str(),
                None if phase.host.is_empty() => "(waiting)",
                None => phase.host.as_str(),
            };
            let sums = entry(&mut self.hosts, host);
            entry(&mut sums.phases, &phase.phase).add(phase.duration);
        }
        let slow = (Reverse(job.duration), job.source.clone().unwrap_or_default(), job.host.clone());
        if job.source.is_some() && (self.slowest.len() < SLOWEST || Some(&slow) < self.slowest.last()) {
            self.slowest.push(slow);
            self.slowest.sort_unstable();
            self.slowest.truncate(SLOWEST);
        }
        if !is_away && !job.host.is_empty() {
            entry(&mut self.hosts, &job.host).done += 1;
        }
    }

    fn add_attempt(&mut self, job: &Job, attempt: &Attempt) {
        let sums = entry(&mut self.hosts, &attempt.host);
        if attempt.outcome == "done" {
            sums.done += 1;
            sums.pump += u64::from(job.mode == "pump");
        } else {
            let cause = attempt.cause.as_deref().unwrap_or(&attempt.outcome);
            entry(&mut sums.failures, cause).add(attempt.duration);
        }
        for (sum, bytes) in [
            (&mut sums.sent, attempt.sent),
            (&mut sums.received, attempt.received),
            (&mut sums.source_bytes, attempt.source_bytes),
            (&mut sums.result_bytes, attempt.result_bytes),
        ] {
            *sum = sum.saturating_add(bytes);
        }
    }

    /// The report, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let Lines { read, unreadable, other_versions } = self.lines;
        let began = self.began.unwrap_or(0);
        let elapsed = self.ended.saturating_sub(began);
        let at_once = self.total.time as f64 / elapsed.max(1) as f64;
        line(&mut text, &format!("{read} jobs in {}, {at_once:.1} at a time", seconds(elapsed)));
        let Totals { away, local, failed, .. } = self.total;
        let fallbacks: u64 = self.fallbacks.values().map(|sum| sum.count).sum();
        line(
            &mut text,
            &format!(
                "{away} on other machines, {local} here ({fallbacks} of them after all), {failed} failed"
            ),
        );
        if unreadable + other_versions > 0 {
            line(
                &mut text,
                &format!("skipped: {unreadable} cut or damaged lines, {other_versions} of other versions"),
            );
        }
        self.hosts_text(&mut text);
        list(&mut text, "Run here, because", &self.reasons);
        list(&mut text, "Run here after all, because", &self.fallbacks);
        self.time_text(&mut text, began);
        if !self.slowest.is_empty() {
            line(&mut text, "\nSlowest sources");
            for (duration, source, host) in &self.slowest {
                let name = format!("{} ({})", tail(&shown(source)), shown(host));
                line(&mut text, &format!("{:>10}  {name}", seconds(duration.0)));
            }
        }
        text
    }

    fn hosts_text(&self, text: &mut String) {
        for (name, sums) in &self.hosts {
            let failed: u64 = sums.failures.values().map(|sum| sum.count).sum();
            let _ = write!(text, "\n{}: {} jobs", shown(name), sums.done);
            if sums.pump > 0 {
                let _ = write!(text, " ({} in pump mode)", sums.pump);
            }
            if failed > 0 {
                let _ = write!(text, ", {failed} failed attempts");
            }
            line(text, "");
            if sums.sent + sums.received > 0 {
                let traffic = format!(
                    "  sent {} for {} of source, received {} for {} of results",
                    bytes(sums.sent),
                    bytes(sums.source_bytes),
                    bytes(sums.received),
                    bytes(sums.result_bytes)
                );
                line(text, &traffic);
            }
            if !sums.phases.is_empty() {
                line(text, "  phase          times      median         90 %        total");
            }
            let known = PHASES.iter().filter_map(|phase| sums.phases.get_key_value(*phase));
            let further = sums.phases.iter().filter(|(phase, _)| !PHASES.contains(&phase.as_str()));
            for (phase, times) in known.chain(further.take(LISTED_MAX)) {
                let (median, high) = (seconds(times.percentile(50)), seconds(times.percentile(90)));
                let row =
                    format!("{:>8} {median:>11} {high:>12} {:>12}", times.count(), seconds(times.sum()));
                line(text, &format!("  {:<11}{row}", shown(phase)));
            }
            for (cause, sum) in most(&sums.failures) {
                line(text, &format!("  failed {}x: {}", sum.count, shown(cause)));
            }
        }
    }

    fn time_text(&self, text: &mut String, began: u64) {
        let rows = (self.all.rows(began, self.ended, ROWS), self.away.rows(began, self.ended, ROWS));
        let highest = rows.0.iter().copied().fold(0.0, f64::max);
        if self.lines.read == 0 || highest <= 0.0 {
            return;
        }
        line(text, "\nJobs at a time (#: on other machines, -: here or waiting)");
        let step = (self.ended - began).max(1).div_ceil(ROWS);
        for (index, (all, away)) in rows.0.iter().zip(&rows.1).enumerate() {
            let columns = |jobs: f64| (jobs / highest * BAR_COLUMNS).round() as usize;
            let away_columns = columns(away.min(*all));
            let bar = "#".repeat(away_columns) + &"-".repeat(columns(*all).saturating_sub(away_columns));
            // What has been added and taken away again leaves less than nothing.
            let shown = all.max(0.0).abs();
            line(text, &format!("{:>10} {shown:>7.1} {bar}", seconds(index as u64 * step)));
        }
    }
}

fn line(text: &mut String, what: &str) {
    text.push_str(what);
    text.push('\n');
}

/// A list of causes, the most frequent first.
fn list(text: &mut String, title: &str, sums: &BTreeMap<String, Sum>) {
    if sums.is_empty() {
        return;
    }
    line(text, &format!("\n{title}"));
    for (cause, sum) in most(sums) {
        line(text, &format!("{:>7}  {:>9}  {}", sum.count, seconds(sum.time), shown(cause)));
    }
    if sums.len() > LISTED_MAX {
        line(text, &format!("     ... and {} other causes", sums.len() - LISTED_MAX));
    }
}

fn most(sums: &BTreeMap<String, Sum>) -> Vec<(&String, Sum)> {
    let mut sorted: Vec<_> = sums.iter().map(|(cause, sum)| (cause, *sum)).collect();
    sorted.sort_by_key(|(_, sum)| Reverse(sum.count));
    sorted.truncate(LISTED_MAX);
    sorted
}

/// A text that came from a file, without what would steer a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// The end of a path, where it differs from others.
fn tail(path: &str) -> String {
    let count = path.chars().count();
    match count > TEXT_COLUMNS {
        true => "...".chars().chain(path.chars().skip(count - TEXT_COLUMNS)).collect(),
        false => path.into(),
    }
}

/// A time in the unit that suits it.
fn seconds(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} us"),
        1_000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        1_000_000..600_000_000 => format!("{:.1} s", microseconds as f64 / 1e6),
        _ => format!("{:.1} min", microseconds as f64 / 6e7),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.0} kB", count as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.0} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_summed_by_host_reason_and_cause() {
        let record = concat!(
            r#"{"v":1,"start":1000000,"duration":2000000,"status":0,"verdict":"distribute","mode":"pump","host":"b","#,
            r#""source":"slow.c","attempts":[{"host":"red","start":1000000,"duration":4000,"outcome":"host","#,
            r#""cause":"connect: refused"},{"host":"b/2,lzo","start":1010000,"duration":1900000,"outcome":"done","#,
            r#""sent":70,"received":90}],"phases":[{"phase":"connect","host":"red","start":1000001,"duration":4},"#,
            r#"{"phase":"compile","host":"b","start":1010000,"duration":1500000}]}"#,
            "\n{\"v\":1,\"start\":10",
            "\n",
            r#"{"v":1,"start":1500000,"duration":100,"status":1,"verdict":"local","reason":"it \u001b[2J links"}"#,
            "\n",
            r#"{"v":1,"start":1500000,"duration":100,"status":0,"mode":"local","host":"localhost","fallback":"no host"}"#,
            "\n",
        );
        let text = read(record.as_bytes()).unwrap().text();
        for wanted in [
            "3 jobs in 2.0 s, 1.0 at a time\n",
            "1 on other machines, 2 here (1 of them after all), 1 failed\n",
            "skipped: 1 cut or damaged lines, 0 of other versions\n",
            "\nb/2,lzo: 1 jobs (1 in pump mode)\n  sent 70 B",
            "  compile           1       1.5 s",
            "\nred: 0 jobs, 1 failed attempts\n",
            "  failed 1x: connect: refused\n",
            "Run here, because\n      1     100 us  it ?[2J links\n",
            "Run here after all, because\n      1     100 us  no host\n",
            "     2.0 s  slow.c (b)\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
    }

    #[test]
    fn nothing_is_a_report_too() {
        assert!(read(&b""[..]).unwrap().text().starts_with("0 jobs in 0 us"));
    }

    #[test]
    fn what_differs_in_every_line_takes_bounded_memory() {
        let record: String = (0..3 * KEYS_MAX)
            .map(|number| {
                format!(
                    "{{\"v\":1,\"start\":5,\"duration\":1,\"reason\":\"{number}\",\"host\":\"h{number}\"}}\n"
                )
            })
            .collect();
        let report = read(record.as_bytes()).unwrap();
        assert!(report.reasons.len() <= KEYS_MAX + 1 && report.hosts.len() <= KEYS_MAX + 1);
        assert_eq!(report.reasons[OTHERS].count, 2 * KEYS_MAX as u64);
    }
}
