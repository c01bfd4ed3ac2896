//! The block of text that scrapers have read since 3.4: its fields, their order and their units.

use std::fmt::Write as _;

use crate::daemon::statistics::ledger::Ledger;
use crate::daemon::statistics::machine::Machine;
use crate::daemon::summary::Outcome;

/// What comes before it: 3.4's bytes, which end lines as only old scrapers expect it.
pub const HEAD: &str = "HTTP/1.0 200 OK\nContent-Type: text/plain\nConnection: close\n\n";

/// The block. A number that is not known is -1, as in 3.4.
pub fn text(ledger: &Ledger, machine: &Machine) -> String {
    let mut text = String::from("argv /distccd\n<distccstats>\n");
    let mut field = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "dcc_{name} {value}");
    };
    let or_unknown = |value: Option<u64>| value.map_or_else(|| "-1".to_string(), |value| value.to_string());
    let mebibytes = |bytes: Option<u64>| format!("{} MB", or_unknown(bytes.map(|bytes| bytes >> 20)));
    field("tcp_accept", &ledger.connected);
    field("rej_bad_req", &ledger.ended(Outcome::BadRequest));
    field("rej_overload", &(ledger.ended(Outcome::Overload) + ledger.dropped));
    field("compile_ok", &ledger.ended(Outcome::Compiled));
    field("compile_error", &ledger.ended(Outcome::Failed));
    field("compile_timeout", &ledger.ended(Outcome::TimedOut));
    field("cli_disconnect", &ledger.ended(Outcome::Disconnected));
    field("other", &ledger.ended(Outcome::Other));
    let longest = ledger.longest.as_ref();
    field("longest_job", &longest.map_or("none", |longest| &longest.source));
    field("longest_job_compiler", &longest.map_or("none", |longest| &longest.compiler));
    let time = longest.map(|longest| u64::try_from(longest.time.as_millis()).unwrap_or(u64::MAX));
    field("longest_job_time_msecs", &or_unknown(time));
    field("max_kids", &ledger.settings.jobs);
    for (number, average) in ledger.running_averages().iter().enumerate() {
        field(&format!("avg_kids{}", number + 1), &average.round());
    }
    let conditions = &machine.conditions;
    field("current_load", &or_unknown(conditions.running));
    for (number, load) in conditions.loads.iter().enumerate() {
        field(&format!("load{}", number + 1), &format!("{load:.2}"));
    }
    for (number, count) in ledger.compiled().iter().enumerate() {
        field(&format!("num_compiles{}", number + 1), count);
    }
    let processes = &machine.processes;
    field("num_procstate_D", &processes.blocked);
    field("max_RSS", &processes.largest_kib);
    field("max_RSS_name", &format!("({})", processes.largest_name));
    field("io_rate", &or_unknown(conditions.sectors_per_second));
    field("free_space", &mebibytes(conditions.temporary_free_bytes));
    field("free_mem", &mebibytes(conditions.memory_available_bytes));
    text.push_str("</distccstats>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::statistics::cases;
    use crate::daemon::statistics::ledger::Settings;
    use std::path::Path;
    use std::time::Instant;

    #[test]
    fn every_field_is_in_its_place() {
        let (ledger, _) = cases::ledger();
        let expected = "argv /distccd\n<distccstats>\ndcc_tcp_accept 7\ndcc_rej_bad_req 1\ndcc_rej_overload 1\n\
             dcc_compile_ok 1\ndcc_compile_error 1\ndcc_compile_timeout 1\ndcc_cli_disconnect 1\ndcc_other 2\n\
             dcc_longest_job hello.c\ndcc_longest_job_compiler gcc\ndcc_longest_job_time_msecs 125\n\
             dcc_max_kids 4\ndcc_avg_kids1 2\ndcc_avg_kids2 0\ndcc_avg_kids3 0\ndcc_current_load 3\n\
             dcc_load1 0.50\ndcc_load2 1.25\ndcc_load3 2.00\ndcc_num_compiles1 2\ndcc_num_compiles2 2\n\
             dcc_num_compiles3 2\ndcc_num_procstate_D 1\ndcc_max_RSS 4096\ndcc_max_RSS_name (cc1plus)\n\
             dcc_io_rate 12\ndcc_free_space 5120 MB\ndcc_free_mem 6144 MB\n</distccstats>\n";
        assert_eq!(text(&ledger, &cases::machine()), expected);
    }

    #[test]
    fn what_is_not_known_is_said_as_by_3_4() {
        let ledger = Ledger::new(Settings { jobs: 1, queue: 1 }, Instant::now());
        let text = text(&ledger, &Machine::new(Path::new("/tmp")));
        for line in [
            "dcc_longest_job none",
            "dcc_longest_job_compiler none",
            "dcc_longest_job_time_msecs -1",
            "dcc_current_load -1",
            "dcc_io_rate -1",
            "dcc_free_space -1 MB",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
