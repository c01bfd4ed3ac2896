//! What a process and all it started use, as `/proc` tells. Knows nothing of why anybody asks.
//!
//! What it says is a moment's truth: processes come and go while it looks. On a kernel that does not tell of children,
//! a tree is its root.

use std::fs;
use std::path::Path;

/// Where the kernel shows control groups.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Processes, and the memory they have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub processes: usize,
    /// Their resident memory, in bytes. What several share counts for each of them.
    pub resident_bytes: u64,
}

/// What a child of ours, its descendants, and what is left of its process group use. Looks at `processes_max` processes
/// and one more: who wants to know more has an answer by then.
pub fn usage(child: i32, processes_max: usize) -> Usage {
    let page = page_bytes();
    let mut usage = Usage::default();
    // Whose parent has ended is ours now (see `child::adopt_orphans`); the group is what it has in common.
    let mut left: Vec<i32> =
        children("self").filter(|ours| *ours == child || is_in_group(*ours, child)).collect();
    if !left.contains(&child) {
        left.push(child);
    }
    while let Some(pid) = left.pop() {
        let Some(pages) = resident_pages(pid) else { continue };
        usage.processes += 1;
        usage.resident_bytes += pages.saturating_mul(page);
        if usage.processes > processes_max {
            break;
        }
        left.extend(children(&pid.to_string()));
    }
    usage
}

/// Memory of this machine, or what this process and its relatives may have of it, in bytes.
pub fn memory_of_machine() -> u64 {
    // SAFETY: no preconditions.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    let physical = u64::try_from(pages).unwrap_or(0).saturating_mul(page_bytes());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    memory_of_groups(&groups, Path::new(CONTROL_GROUPS)).map_or(physical, |limit| limit.min(physical))
}

/// The least `memory.max` of our control group and of those around it (cgroups version 2), if any has one.
fn memory_of_groups(groups: &str, root: &Path) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |group: &Path| -> Option<u64> {
        fs::read_to_string(root.join(group).join("memory.max")).ok()?.trim().parse().ok()
    };
    Path::new(own).ancestors().filter_map(limit).min()
}

/// What one page of memory has, in bytes.
pub fn page_bytes() -> u64 {
    // SAFETY: no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

fn is_in_group(pid: i32, group: i32) -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::getpgid(pid) == group }
}

/// None if it has ended.
fn resident_pages(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

/// The children of a process, those of all its threads.
fn children(process: &str) -> impl Iterator<Item = i32> + use<> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_is_counted_with_its_orphans() {
        crate::sys::child::adopt_orphans();
        let script = "sleep 60 & (sleep 60 & sleep 60 & echo; exit) ; wait";
        let mut child =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        // The subshell may not have ended yet.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut found = usage(pid, 100);
        while found.processes != 4 && std::time::Instant::now() < patience {
            found = usage(pid, 100);
        }
        assert_eq!(found.processes, 4, "{found:?}");
        assert!(found.resident_bytes > 100 << 10, "{found:?}");
        assert_eq!(usage(pid, 2).processes, 3);
        crate::sys::child::kill_group(pid);
        child.wait().unwrap();
        assert!(memory_of_machine() > 100 << 20);
    }

    #[test]
    fn a_control_group_may_have_less_than_the_machine() {
        let root = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let limit = |group: &str, text: &str| {
            fs::create_dir_all(root.path().join(group)).unwrap();
            fs::write(root.path().join(group).join("memory.max"), text).unwrap();
        };
        limit("a/b/c", "max\n");
        limit("a/b", "3000\n");
        limit("a", "2000\n");
        limit("other", "1000\n");
        for (groups, expected) in [
            ("0::/a/b/c\n", Some(2000)),
            ("1:cpu:/x\n0::/other\n", Some(1000)),
            ("0::/\n", None),
            ("0::/gone\n", None),
            ("5:memory:/other\n", None),
            ("", None),
        ] {
            assert_eq!(memory_of_groups(groups, root.path()), expected, "{groups:?}");
        }
    }
}
