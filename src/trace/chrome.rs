//! A record as browsers' tracing viewers and Perfetto open it (the trace event format, JSON): a process for each host, a
//! thread for each slot. Streams: holds the names of hosts, not the jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

use super::job::{Job, Phase};
use super::reading::{self, Lines};

/// How many hosts become processes; all further ones are one.
const HOSTS_MAX: usize = 4096;
/// The process of jobs that wait for a slot. Each is a thread of its own, for they overlap.
const WAITING: &str = "waiting for a slot";

/// Writes the trace of a record; returns what was read of it.
pub fn convert(record: impl BufRead, to: impl Write) -> io::Result<Lines> {
    let mut trace = Trace { to, hosts: BTreeMap::new(), threads: BTreeSet::new(), is_empty: true };
    trace.to.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
    let mut result = Ok(());
    let lines = reading::each_job(record, |job| {
        if result.is_ok() {
            result = trace.job(&job);
        }
    })?;
    result?;
    trace.to.write_all(b"\n]}\n")?;
    trace.to.flush()?;
    Ok(lines)
}

struct Trace<W> {
    to: W,
    /// The number of each host, as a process.
    hosts: BTreeMap<String, u64>,
    /// Threads whose names are written.
    threads: BTreeSet<(u64, u64)>,
    is_empty: bool,
}

impl<W: Write> Trace<W> {
    fn job(&mut self, job: &Job) -> io::Result<()> {
        let name = job.source.as_deref().unwrap_or(&job.compiler);
        for attempt in &job.attempts {
            let (process, thread) = self.track(&attempt.host, u64::from(attempt.slot))?;
            let arguments = json!({
                "outcome": attempt.outcome, "cause": attempt.cause, "mode": job.mode, "client": job.pid,
                "sent": attempt.sent, "received": attempt.received, "status": job.status,
            });
            self.span(name, "attempt", (attempt.start, attempt.duration), (process, thread), arguments)?;
        }
        for phase in &job.phases {
            let (process, thread) = match self.host_of(job, phase) {
                "" => self.track(WAITING, u64::from(job.pid))?,
                host => {
                    let host = host.to_owned();
                    self.track(&host, u64::from(phase.slot))?
                }
            };
            let is_ours = phase.host == "localhost" && phase.phase == "compile";
            let arguments = if is_ours {
                json!({"source": name, "status": job.status, "reason": job.reason, "fallback": job.fallback})
            } else {
                json!({"source": name})
            };
            let title = if is_ours { name } else { &phase.phase };
            self.span(title, "phase", (phase.start, phase.duration), (process, thread), arguments)?;
        }
        Ok(())
    }

    /// The word of the list for a phase's host: the attempt it belongs to.
    fn host_of<'a>(&self, job: &'a Job, phase: &'a Phase) -> &'a str {
        if phase.host == "localhost" {
            return &phase.host;
        }
        let during = |start: u64, duration: u64| (start..=start + duration).contains(&phase.start);
        let attempt = job.attempts.iter().find(|attempt| during(attempt.start, attempt.duration));
        attempt.map_or(&phase.host, |attempt| &attempt.host)
    }

    /// Process and thread of a slot, named when they are first used.
    fn track(&mut self, host: &str, slot: u64) -> io::Result<(u64, u64)> {
        let is_full = self.hosts.len() >= HOSTS_MAX;
        let host = if is_full && !self.hosts.contains_key(host) { "(others)" } else { host };
        let process = match self.hosts.get(host) {
            Some(process) => *process,
            None => {
                let process = self.hosts.len() as u64 + 1;
                self.hosts.insert(host.to_owned(), process);
                self.event(&json!({
                    "ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": host},
                }))?;
                process
            }
        };
        let thread = slot + 1;
        // One that is not remembered is named again, which does no harm.
        if self.threads.len() < HOSTS_MAX * 16 && self.threads.insert((process, thread)) {
            let name = if host == WAITING { format!("client {slot}") } else { format!("slot {slot}") };
            self.event(&json!({
                "ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": name},
            }))?;
        }
        Ok((process, thread))
    }

    /// Something that took a time.
    fn span(
        &mut self,
        name: &str,
        category: &str,
        (start, duration): (u64, u64),
        (process, thread): (u64, u64),
        arguments: Value,
    ) -> io::Result<()> {
        self.event(&json!({
            "ph": "X", "name": name, "cat": category, "ts": start, "dur": duration,
            "pid": process, "tid": thread, "args": arguments,
        }))
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        if !std::mem::take(&mut self.is_empty) {
            self.to.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut self.to, event).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_threads_of_hosts_and_phases_lie_in_attempts() {
        let record = concat!(
            r#"{"v":1,"pid":77,"start":100,"duration":90,"status":0,"mode":"plain","host":"b","source":"a\"<b>.c","#,
            r#""attempts":[{"host":"b/2","slot":1,"start":110,"duration":60,"outcome":"done"}],"#,
            r#""phases":[{"phase":"blocked","start":100,"duration":10},"#,
            r#"{"phase":"preprocess","host":"localhost","slot":3,"start":112,"duration":5},"#,
            r#"{"phase":"compile","host":"b","slot":1,"start":117,"duration":53}]}"#,
            "\nrubbish\n"
        );
        let mut out = Vec::new();
        let lines = convert(record.as_bytes(), &mut out).unwrap();
        assert_eq!((lines.read, lines.unreadable), (1, 1));
        let trace: Value = serde_json::from_slice(&out).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        let named: Vec<_> = of("M").iter().map(|event| event["args"]["name"].as_str().unwrap()).collect();
        assert_eq!(named, ["b/2", "slot 1", WAITING, "client 77", "localhost", "slot 3"]);
        let spans = of("X");
        assert_eq!(spans.len(), 4);
        assert_eq!(spans[0]["name"], "a\"<b>.c");
        let compile = spans.iter().find(|span| span["name"] == "compile").unwrap();
        assert_eq!((&compile["pid"], &compile["tid"]), (&spans[0]["pid"], &spans[0]["tid"]));
        for span in spans {
            assert!(["ts", "dur", "pid", "tid"].iter().all(|field| span[*field].is_u64()), "{span}");
        }
    }

    #[test]
    fn an_empty_record_is_an_empty_trace() {
        let mut out = Vec::new();
        convert(&b""[..], &mut out).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["traceEvents"], json!([]));
    }
}
