//! The numbers as programs read them, the page's among them: one JSON object, described in docs/statistics.md.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::daemon::patron::Origin;
use crate::daemon::statistics::clients::Share;
use crate::daemon::statistics::ledger::{Ledger, Refused, TIME_BOUNDS};
use crate::daemon::statistics::machine::Machine;
use crate::daemon::statistics::reason::Reason;
use crate::daemon::statistics::steps::{Step, Steps};
use crate::daemon::summary::Outcome;

/// Clients whose time is told step by step.
const HISTORIES_MAX: usize = 6;

/// Everything there is to know. `lost` occurrences were not counted.
pub fn json(ledger: &Ledger, machine: &Machine, lost: u64, now: Instant) -> String {
    let outcomes =
        Outcome::ALL.map(|outcome| (outcome.word().to_ascii_lowercase(), ledger.ended(outcome).into()));
    let longest = ledger.longest.as_ref().map(|longest| {
        json!({
            "source": longest.source,
            "compiler": longest.compiler,
            "seconds": longest.time.as_secs_f64(),
        })
    });
    let conditions = &machine.conditions;
    let processes = &machine.processes;
    let value = json!({
        "server": {
            "name": conditions.name,
            "version": env!("CARGO_PKG_VERSION"),
            "started": unix_seconds(ledger.started),
            "uptime_seconds": now.saturating_duration_since(ledger.began).as_secs(),
            "slots": ledger.settings.jobs,
            "queue_slots": ledger.settings.queue,
        },
        "now": {
            "running": ledger.levels.running,
            "waiting": ledger.levels.waiting,
            "connections": ledger.levels.clients,
        },
        "recent": {
            "minutes": [1, 5, 15],
            "running": ledger.running_averages().map(rounded),
            "compiled": ledger.compiled(),
        },
        "total": {
            "connections": ledger.connected,
            "dropped": ledger.dropped,
            "jobs": Map::from_iter(outcomes),
            "refusals": by_reason(&ledger.refusals),
            "received_bytes": ledger.received,
            "sent_bytes": ledger.sent,
            "compile_seconds": ledger.compiling.as_secs_f64(),
            "lost_events": lost,
        },
        "compile_times": { "up_to_seconds": TIME_BOUNDS, "compiles": ledger.times },
        "longest_job": longest,
        "machine": {
            "load": conditions.loads,
            "processes_running": conditions.running,
            "processes_blocked": processes.blocked,
            "largest_process": { "name": processes.largest_name, "resident_kib": processes.largest_kib },
            "disk_sectors_per_second": conditions.sectors_per_second,
            "temporary_free_bytes": conditions.temporary_free_bytes,
            "memory_available_bytes": conditions.memory_available_bytes,
        },
        "clients": clients(ledger, now),
        "other_clients": share(ledger.clients.others()),
        "last_refusals": last_refusals(ledger, now),
        "history": ledger.series().iter().map(|steps| history(steps, now)).collect::<Vec<_>>(),
    });
    format!("{value}\n")
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn by_reason(counts: &[u64]) -> Value {
    let named =
        Reason::ALL.iter().zip(counts).map(|(reason, count)| (reason.name().to_string(), (*count).into()));
    Value::Object(named.collect())
}

fn share(share: &Share) -> Map<String, Value> {
    let fields = [
        ("jobs", share.jobs.into()),
        ("failed", share.failed.into()),
        ("refused", share.refused.into()),
        ("compile_seconds", rounded(share.compiling.as_secs_f64()).into()),
        ("received_bytes", share.received.into()),
        ("sent_bytes", share.sent.into()),
    ];
    fields.into_iter().map(|(name, value): (&str, Value)| (name.to_string(), value)).collect()
}

fn clients(ledger: &Ledger, now: Instant) -> Vec<Value> {
    let client = |(origin, sums, seen): (Origin, &Share, Instant)| {
        let mut fields = share(sums);
        fields.insert("address".into(), origin.to_string().into());
        fields.insert("idle_seconds".into(), now.saturating_duration_since(seen).as_secs().into());
        Value::Object(fields)
    };
    ledger.clients.by_time().into_iter().map(client).collect()
}

fn last_refusals(ledger: &Ledger, now: Instant) -> Vec<Value> {
    let refusal = |refused: &Refused| {
        json!({
            "seconds_ago": now.saturating_duration_since(refused.at).as_secs(),
            "client": refused.client,
            "reason": refused.reason.name(),
            "text": refused.text,
        })
    };
    ledger.last_refusals.iter().rev().map(refusal).collect()
}

/// The steps that are over, a column for each sum, oldest first.
fn history(steps: &Steps, now: Instant) -> Value {
    fn column<T: Into<Value>>(steps: &Steps, value: impl Fn(&Step) -> T) -> Value {
        Value::Array(steps.over().map(|step| value(step).into()).collect())
    }
    let length = steps.length().as_secs_f64();
    let average = |milliseconds: u64| rounded(Duration::from_millis(milliseconds).as_secs_f64() / length);
    let seconds = |milliseconds: u64| rounded(Duration::from_millis(milliseconds).as_secs_f64());
    // A reason that did not occur has no column.
    let refused =
        Reason::ALL.iter().filter(|reason| steps.over().any(|step| step.refused[**reason as usize] > 0));
    let refused = refused
        .map(|reason| (reason.name().to_string(), column(steps, |step| step.refused[*reason as usize])));
    json!({
        "step_seconds": steps.length().as_secs(),
        "ended_seconds_ago": rounded(steps.age(now).as_secs_f64()),
        "running": column(steps, |step| average(step.running_ms)),
        "running_max": column(steps, |step| step.running_max),
        "waiting": column(steps, |step| average(step.waiting_ms)),
        "waiting_max": column(steps, |step| step.waiting_max),
        "compiled": column(steps, |step| step.compiled),
        "failed": column(steps, |step| step.failed),
        "compile_seconds": column(steps, |step| seconds(step.compiling_ms)),
        "compile_seconds_max": column(steps, |step| seconds(step.compiling_max_ms)),
        "received_bytes": column(steps, |step| step.received),
        "sent_bytes": column(steps, |step| step.sent),
        "refused": Value::Object(refused.collect()),
        "clients": history_of_clients(steps),
    })
}

/// The compilers' time of those clients who had most of it, and of all the others (without an address).
fn history_of_clients(steps: &Steps) -> Vec<Value> {
    let mut sums: HashMap<Origin, u64> = HashMap::new();
    for (client, time) in steps.over().flat_map(|step| &step.by_client) {
        *sums.entry(*client).or_default() += time;
    }
    let mut clients: Vec<(Reverse<u64>, Origin)> =
        sums.into_iter().map(|(client, time)| (Reverse(time), client)).collect();
    clients.sort_unstable();
    clients.truncate(HISTORIES_MAX);
    let of = |step: &Step| clients.iter().map(|(_, client)| step.compiling_for(*client)).sum::<u64>();
    let seconds = |times: Vec<u64>| times.into_iter().map(|time| time as f64 / 1000.0).collect::<Vec<_>>();
    let others: Vec<u64> = steps.over().map(|step| step.compiling_ms.saturating_sub(of(step))).collect();
    let mut columns: Vec<Value> = clients
        .iter()
        .map(|(_, client)| {
            let times = steps.over().map(|step| step.compiling_for(*client)).collect();
            json!({ "address": client.to_string(), "compile_seconds": seconds(times) })
        })
        .collect();
    if others.iter().any(|time| *time > 0) {
        columns.push(json!({ "address": Value::Null, "compile_seconds": seconds(others) }));
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::refusal::Refusal;
    use crate::daemon::statistics::{Ending, Levels, Occurrence, cases};
    use crate::exit_code::ExitCode;

    #[test]
    fn the_object_has_what_the_page_shows() {
        let (ledger, now) = cases::ledger();
        let value: Value = serde_json::from_str(&json(&ledger, &cases::machine(), 0, now)).unwrap();
        for (pointer, expected) in [
            ("/now/running", json!(2)),
            ("/total/jobs/compile_ok", json!(1)),
            ("/total/refusals/compiler", json!(1)),
            ("/recent/compiled", json!([2, 2, 2])),
            ("/clients/0/address", json!("192.0.2.1")),
            ("/clients/0/jobs", json!(2)),
            ("/last_refusals/0/text", json!("no <compiler> \"x\\y\" here")),
            ("/last_refusals/0/seconds_ago", json!(56)),
            ("/history/0/step_seconds", json!(3)),
            ("/history/0/compiled/1", json!(1)),
            ("/history/0/refused/compiler/1", json!(1)),
            ("/history/1/running/0", json!(2.0)),
            ("/history/0/clients/0/address", json!("192.0.2.1")),
            ("/history/0/clients/0/compile_seconds/1", json!(0.36)),
            ("/machine/largest_process/name", json!("cc1plus")),
            ("/longest_job/source", json!("hello.c")),
        ] {
            assert_eq!(value.pointer(pointer), Some(&expected), "{pointer} in {value:#}");
        }
        assert_eq!(value["history"][0]["running"].as_array().unwrap().len(), 20);
    }

    #[test]
    fn a_day_of_much_work_by_many_is_not_too_long_to_be_asked_for() {
        let (mut ledger, _) = cases::ledger();
        let began = ledger.began + Duration::from_secs(60);
        for step in 0..2 * 24 * 3600 / 5 {
            let at = began + Duration::from_secs(5 * step);
            let busy = usize::try_from(step % 65).unwrap();
            let levels = Levels { running: busy, waiting: 10 * busy, clients: 11 * busy };
            ledger.note(at, Occurrence::Levels(levels));
            for outcome in [Outcome::Compiled, Outcome::Failed, Outcome::Other] {
                let origin = Origin::V6Net(step % 1000);
                let refusal =
                    Some(Refusal::new(ExitCode::ALL[(step % 21) as usize], "\u{1f980}".repeat(500)));
                let ending = Ending { origin, refusal, ..cases::ending(outcome, 1 + step % 7919) };
                ledger.note(at, Occurrence::Ended(Box::new(ending)));
            }
        }
        let now = began + Duration::from_secs(2 * 24 * 3600);
        ledger.pass(now);
        let text = json(&ledger, &cases::machine(), 0, now);
        let value: Value = serde_json::from_str(&text).unwrap();
        let lengths: Vec<usize> =
            (0..3).map(|series| value["history"][series]["running"].as_array().unwrap().len()).collect();
        assert_eq!(lengths, [300, 360, 288]);
        assert_eq!(value["history"][2]["clients"].as_array().unwrap().len(), HISTORIES_MAX + 1);
        assert_eq!(value["clients"].as_array().unwrap().len(), 64);
        assert!(text.len() < 256 << 10, "{} bytes", text.len());
    }
}
