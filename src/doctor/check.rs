//! What a check finds: a topic, a verdict, words, and what mends it. Knows neither what is checked nor how it is shown.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Work gets done, but not as well as it could be, or not as somebody seems to want it.
    Warning,
    /// Work cannot be distributed, here or to this host.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A word for scripts: the same in every run.
    pub topic: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// The same in words.
    pub words: String,
    /// The command, or the step, that mends it.
    pub remedy: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn good(topic: &'static str, words: impl Into<String>) -> Check {
        Check { topic, verdict: Verdict::Good, words: words.into(), remedy: None }
    }

    /// Not as well as it could be.
    pub fn warning(topic: &'static str, words: impl Into<String>) -> Check {
        Check { verdict: Verdict::Warning, ..Check::good(topic, words) }
    }

    /// In the way of all work.
    pub fn bad(topic: &'static str, words: impl Into<String>) -> Check {
        Check { verdict: Verdict::Bad, ..Check::good(topic, words) }
    }

    /// The same, with a way out.
    pub fn mended_by(mut self, remedy: impl Into<String>) -> Check {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What is found about one host.
#[derive(Clone, Debug)]
pub struct HostFindings {
    /// Its word in the list.
    pub host: String,
    /// Whether jobs are sent there at all: this machine's own entry and hosts with `,down` take none.
    pub takes_work: bool,
    /// The checks, in the order in which a job would meet them.
    pub checks: Vec<Check>,
}

impl HostFindings {
    /// Whether jobs can be sent there.
    pub fn is_able(&self) -> bool {
        self.takes_work && self.checks.iter().all(|check| check.verdict < Verdict::Bad)
    }
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// About this machine.
    pub machine: Vec<Check>,
    /// About each host, in the list's order.
    pub hosts: Vec<HostFindings>,
}

impl Findings {
    /// Whether work can be distributed.
    pub fn can_distribute(&self) -> bool {
        let is_well = self.machine.iter().all(|check| check.verdict < Verdict::Bad);
        is_well && self.hosts.iter().any(HostFindings::is_able)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_needs_a_sound_machine_and_one_able_host() {
        let host =
            |takes_work, check: Check| HostFindings { host: "h".into(), takes_work, checks: vec![check] };
        let good = || Check::good("x", "");
        let cases = [
            (good(), vec![host(true, good())], true),
            (Check::warning("x", ""), vec![host(true, Check::warning("x", ""))], true),
            (good(), vec![host(true, Check::bad("x", "")), host(true, good())], true),
            (good(), vec![host(true, Check::bad("x", ""))], false),
            (good(), vec![host(false, good())], false),
            (good(), vec![], false),
            (Check::bad("x", ""), vec![host(true, good())], false),
        ];
        for (machine, hosts, expected) in cases {
            let findings = Findings { machine: vec![machine], hosts };
            assert_eq!(findings.can_distribute(), expected, "{findings:?}");
        }
    }
}
