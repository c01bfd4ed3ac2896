//! How findings are shown: lines for people, in colour on a terminal, and JSON for programs (manual, "--doctor"). No
//! text can do anything to a terminal, wherever it is from.

use std::fmt::Write;

use serde_json::{Value, json};

use super::check::{Check, Findings, HostFindings, Verdict};
use crate::protocol::peer_text::one_line;

/// What a verdict is called in lines, and the colour that a terminal shows it in.
const NAMES: [(Verdict, &str, &str); 3] = [
    (Verdict::Good, "ok", "\x1b[32m"),
    (Verdict::Warning, "warning", "\x1b[33m"),
    (Verdict::Bad, "PROBLEM", "\x1b[1;31m"),
];
const PLAIN: &str = "\x1b[m";

/// The findings for people.
pub fn text(findings: &Findings, coloured: bool) -> String {
    let mut text = String::from("this machine\n");
    findings.machine.iter().for_each(|check| line(check, coloured, &mut text));
    for host in &findings.hosts {
        let _ = writeln!(text, "\n{}", one_line(&host.host));
        host.checks.iter().for_each(|check| line(check, coloured, &mut text));
    }
    let _ = writeln!(text, "\n{}", conclusion(findings));
    text
}

fn line(check: &Check, coloured: bool, text: &mut String) {
    let (_, name, colour) =
        NAMES.iter().find(|(verdict, ..)| *verdict == check.verdict).expect("BUG: every verdict has a name");
    let (on, off) = if coloured { (*colour, PLAIN) } else { ("", "") };
    let _ = writeln!(text, "  {on}{name:<8}{off} {}: {}", check.topic, one_line(&check.words));
    if let Some(remedy) = &check.remedy {
        let label = if check.verdict == Verdict::Good { "hint" } else { "mend it" };
        let _ = writeln!(text, "           {label}: {}", one_line(remedy));
    }
}

fn conclusion(findings: &Findings) -> String {
    let takers = findings.hosts.iter().filter(|host| host.takes_work).count();
    let able = findings.hosts.iter().filter(|host| host.is_able()).count();
    let warnings = findings.machine.iter().chain(findings.hosts.iter().flat_map(|host| &host.checks));
    let warnings = warnings.filter(|check| check.verdict == Verdict::Warning).count();
    match findings.can_distribute() {
        true => format!("Work can be distributed: to {able} of {takers} hosts. Warnings: {warnings}."),
        false if able > 0 => "Work can NOT be distributed from this machine.".into(),
        false if takers > 0 => format!("Work can NOT be distributed: no host of {takers} can take any."),
        false => "Work can NOT be distributed: there is no host to take any.".into(),
    }
}

/// The findings for programs, with a line end.
pub fn json(findings: &Findings) -> String {
    let host = |host: &HostFindings| {
        let checks: Vec<Value> = host.checks.iter().map(check).collect();
        json!({
            "host": host.host, "takes_work": host.takes_work, "able": host.is_able(), "checks": checks,
        })
    };
    let machine: Vec<Value> = findings.machine.iter().map(check).collect();
    let hosts: Vec<Value> = findings.hosts.iter().map(host).collect();
    let whole = json!({ "can_distribute": findings.can_distribute(), "machine": machine, "hosts": hosts });
    format!("{whole:#}\n")
}

fn check(check: &Check) -> Value {
    let verdict = match check.verdict {
        Verdict::Good => "good",
        Verdict::Warning => "warning",
        Verdict::Bad => "bad",
    };
    json!({ "check": check.topic, "verdict": verdict, "words": check.words, "remedy": check.remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let checks = vec![
            Check::good("name", "red is 10.0.0.1"),
            Check::bad("port", "nothing \"listens\"").mended_by("start it"),
        ];
        let host = HostFindings { host: "red/4".into(), takes_work: true, checks };
        Findings { machine: vec![Check::warning("log", "odd")], hosts: vec![host] }
    }

    #[test]
    fn lines_are_coloured_on_terminals_only() {
        let expected = [
            "this machine",
            "  warning  log: odd",
            "",
            "red/4",
            "  ok       name: red is 10.0.0.1",
            "  PROBLEM  port: nothing \"listens\"",
            "           mend it: start it",
            "",
            "Work can NOT be distributed: no host of 1 can take any.",
            "",
        ]
        .join("\n");
        assert_eq!(text(&findings(), false), expected);
        let coloured = text(&findings(), true);
        assert!(coloured.contains("\x1b[1;31mPROBLEM \x1b[m port"), "{coloured}");
    }

    #[test]
    fn no_text_moves_a_cursor() {
        let mut findings = findings();
        findings.hosts[0].host = "a\x1b[2J".into();
        findings.hosts[0].checks[1] = Check::bad("x", "b\r\x07").mended_by("c\u{9b}");
        let text = text(&findings, false);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    }

    #[test]
    fn programs_read_the_same() {
        let read: Value = serde_json::from_str(&json(&findings())).unwrap();
        assert_eq!(read["can_distribute"], false);
        assert_eq!(read["machine"][0]["verdict"], "warning");
        assert_eq!(read["hosts"][0]["host"], "red/4");
        assert_eq!(read["hosts"][0]["able"], false);
        assert_eq!(read["hosts"][0]["checks"][1]["remedy"], "start it");
        assert_eq!(read["hosts"][0]["checks"][0]["remedy"], Value::Null);
    }
}
