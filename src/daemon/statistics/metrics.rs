//! The numbers as Prometheus reads them: text format 0.0.4, base units, each metric with its type and meaning.

use std::fmt::Write as _;
use std::time::{Instant, UNIX_EPOCH};

use crate::daemon::statistics::clients::Share;
use crate::daemon::statistics::ledger::{Ledger, TIME_BOUNDS};
use crate::daemon::statistics::machine::Machine;
use crate::daemon::statistics::reason::Reason;
use crate::daemon::summary::Outcome;

/// Its media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows by metrics.
#[derive(Default)]
struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP distccd_{name} {help}\n# TYPE distccd_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "distccd_{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.begin(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.begin(name, "counter", help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All metrics. `lost` occurrences were not counted.
pub fn metrics(ledger: &Ledger, machine: &Machine, lost: u64, now: Instant) -> String {
    let mut page = Page::default();
    page.begin("info", "gauge", "The server; always 1.");
    page.sample("info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let started = ledger.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.gauge(
        "start_time_seconds",
        "When the server was started (Unix time).",
        Some(started.as_secs_f64().floor()),
    );
    let uptime = now.saturating_duration_since(ledger.began).as_secs();
    page.gauge("uptime_seconds", "How long it has been running.", Some(uptime as f64));
    of_levels(&mut page, ledger);
    of_jobs(&mut page, ledger, lost);
    of_clients(&mut page, ledger);
    of_machine(&mut page, machine);
    page.0
}

fn of_levels(page: &mut Page, ledger: &Ledger) {
    let count = |count: usize| Some(count as f64);
    page.gauge("slots", "Compilers that may run at once (--jobs).", count(ledger.settings.jobs));
    page.gauge("jobs_running", "Compilers that run.", count(ledger.levels.running));
    page.gauge("jobs_waiting", "Jobs that wait for a slot.", count(ledger.levels.waiting));
    page.gauge("queue_slots", "Jobs that may wait (--queue).", count(ledger.settings.queue));
    page.gauge("connections", "Clients that are connected.", count(ledger.levels.clients));
}

fn of_jobs(page: &mut Page, ledger: &Ledger, lost: u64) {
    page.counter("connections_total", "Clients that have connected.", ledger.connected as f64);
    page.counter(
        "connections_dropped_total",
        "Clients dropped without a word: too many.",
        ledger.dropped as f64,
    );
    page.begin("jobs_total", "counter", "Jobs that have ended, by result.");
    for outcome in Outcome::ALL {
        let word = outcome.word().to_ascii_lowercase();
        page.sample("jobs_total", &[("result", &word)], ledger.ended(outcome) as f64);
    }
    page.begin("refusals_total", "counter", "Jobs and clients that were refused, by reason.");
    for (reason, count) in Reason::ALL.iter().zip(ledger.refusals) {
        page.sample("refusals_total", &[("reason", reason.name())], count as f64);
    }
    page.begin("compile_duration_seconds", "histogram", "How long compilers ran.");
    let mut sum = 0;
    for (bound, count) in TIME_BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_string()]).zip(ledger.times)
    {
        sum += count;
        page.sample("compile_duration_seconds_bucket", &[("le", &bound)], sum as f64);
    }
    page.sample("compile_duration_seconds_sum", &[], ledger.compiling.as_secs_f64());
    page.sample("compile_duration_seconds_count", &[], sum as f64);
    let longest = ledger.longest.as_ref().map(|longest| longest.time.as_secs_f64());
    page.gauge("longest_job_seconds", "The longest job that succeeded, transfers included.", longest);
    page.counter("received_bytes_total", "Bytes from clients whose jobs have ended.", ledger.received as f64);
    page.counter("sent_bytes_total", "Bytes to them.", ledger.sent as f64);
    page.counter(
        "statistics_lost_total",
        "Events that were not counted because there were too many.",
        lost as f64,
    );
}

fn of_clients(page: &mut Page, ledger: &Ledger) {
    let others = ("other".to_string(), ledger.clients.others());
    let shares: Vec<(String, &Share)> = ledger
        .clients
        .by_time()
        .into_iter()
        .map(|(origin, share, _)| (origin.to_string(), share))
        .chain([others])
        .collect();
    let mut metric = |name: &str, help: &str, value: fn(&Share) -> f64| {
        page.begin(name, "counter", help);
        for (client, share) in &shares {
            page.sample(name, &[("client", client)], value(share));
        }
    };
    metric("client_jobs_total", "Jobs that were compiled, by client.", |share| share.jobs as f64);
    metric("client_refusals_total", "Jobs that were refused, by client.", |share| share.refused as f64);
    metric("client_compile_seconds_total", "Time in compilers, by client.", |share| {
        share.compiling.as_secs_f64()
    });
    metric("client_received_bytes_total", "Bytes from each client.", |share| share.received as f64);
    metric("client_sent_bytes_total", "Bytes to each client.", |share| share.sent as f64);
}

fn of_machine(page: &mut Page, machine: &Machine) {
    let conditions = &machine.conditions;
    for (minutes, load) in [1, 5, 15].iter().zip(conditions.loads) {
        let help = format!("The machine's load average over {minutes} min.");
        page.gauge(&format!("machine_load{minutes}"), &help, Some(load));
    }
    let number = |value: Option<u64>| value.map(|value| value as f64);
    page.gauge("machine_processes_running", "Processes that run or want to.", number(conditions.running));
    let processes = &machine.processes;
    page.gauge(
        "machine_processes_blocked",
        "Processes in uninterruptible sleep.",
        Some(processes.blocked as f64),
    );
    let largest = Some(processes.largest_kib.saturating_mul(1024) as f64);
    page.gauge("machine_largest_process_bytes", "Resident memory of the largest process.", largest);
    let bytes = number(conditions.sectors_per_second.map(|sectors| sectors.saturating_mul(512)));
    page.gauge("machine_disk_bytes_per_second", "What all disks read and write.", bytes);
    let free = number(conditions.temporary_free_bytes);
    page.gauge("temporary_free_bytes", "Room in TMPDIR.", free);
    let memory = number(conditions.memory_available_bytes);
    page.gauge("machine_memory_available_bytes", "Memory that programs can have.", memory);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::statistics::cases;

    #[test]
    fn metrics_have_a_type_and_samples() {
        let (ledger, now) = cases::ledger();
        let text = metrics(&ledger, &cases::machine(), 3, now);
        for line in [
            "# TYPE distccd_jobs_total counter",
            "distccd_jobs_total{result=\"compile_ok\"} 1",
            "distccd_refusals_total{reason=\"compiler\"} 1",
            "distccd_compile_duration_seconds_bucket{le=\"0.1\"} 0",
            "distccd_compile_duration_seconds_bucket{le=\"0.25\"} 3",
            "distccd_compile_duration_seconds_bucket{le=\"+Inf\"} 3",
            "distccd_compile_duration_seconds_count 3",
            "distccd_client_jobs_total{client=\"192.0.2.1\"} 2",
            "distccd_client_jobs_total{client=\"other\"} 0",
            "distccd_statistics_lost_total 3",
            "distccd_uptime_seconds 60",
            "distccd_jobs_running 2",
            "distccd_machine_disk_bytes_per_second 6144",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
