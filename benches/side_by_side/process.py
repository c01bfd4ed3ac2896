"""Starting a process and knowing what it cost. Knows nothing of distcc.

Every process that is measured is started by `start`, with posix_spawn, and collected with wait4, which gives the
exact CPU time of that process and of the children it has waited for. Nothing else of the benchmark's own work is
in that figure.
"""

import os
import time
from collections import namedtuple

# seconds of CPU and of wall time; output and error are in files
Ended = namedtuple("Ended", "status cpu wall")


TICK = 1 / os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Why there is no result, for the user."""


def start(program, argv, environment, directory=None, stdout=os.devnull, stderr=os.devnull):
    """Starts a process; returns its id. The directory becomes that of the benchmark, too: posix_spawn has none."""
    if directory:
        os.chdir(directory)
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, stdout, write, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    return os.posix_spawn(program, argv, environment, file_actions=actions)


def run(program, argv, environment, **files):
    """Runs a process to its end."""
    began = time.perf_counter()
    pid = start(program, argv, environment, **files)
    _, status, usage = os.wait4(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, time.perf_counter() - began)


def run_all(jobs, at_once):
    """Runs (program, argv, environment, files) in order, so many at once; returns statuses and wall seconds."""
    began = time.perf_counter()
    waiting = list(reversed(jobs))
    running, statuses = set(), []
    while waiting or running:
        while waiting and len(running) < at_once:
            program, argv, environment, files = waiting.pop()
            running.add(start(program, argv, environment, **files))
        pid, status = os.wait()
        if pid in running:
            running.remove(pid)
            statuses.append(os.waitstatus_to_exitcode(status))
    return statuses, time.perf_counter() - began


def session(leader):
    """The processes of a session that are not dead: (id, seconds of CPU of it and the children it has waited for)."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            with open(f"/proc/{pid}/schedstat") as file:
                own = int(file.read().split()[0]) / 1e9
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            yield int(pid), own + sum(map(int, fields[13:15])) * TICK


class Meter:
    """CPU time of a daemon and all its descendants, dead or alive.

    A control group of its own tells it exactly. Where none can be made (not root), /proc is asked: the times of the
    living members of the daemon's session, with those of the children they have waited for. The latter come in whole
    clock ticks for each member, which is too rough to judge a target by.
    """

    def __init__(self, name):
        self.session = None
        self.group = None
        for root, usage in self.hierarchies():
            group = f"{root}/distcc-compare-{os.getpid()}-{name}"
            try:
                os.mkdir(group)
            except OSError:
                continue
            self.group, self.usage = group, f"{group}/{usage}"
            return

    @staticmethod
    def hierarchies():
        """Where control groups that count CPU time may be, and the file with the time."""
        for root in ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"):
            if os.path.exists(f"{root}/cpuacct.usage"):
                yield root, "cpuacct.usage"
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            if os.path.exists(f"{root}/cgroup.controllers") and os.path.exists(f"{root}/cpu.stat"):
                yield root, "cpu.stat"

    @property
    def exact(self):
        return self.group is not None

    def enter(self):
        """Puts the calling process into the group, on its way to becoming the daemon."""
        if self.group:
            with open(f"{self.group}/cgroup.procs", "w") as procs:
                procs.write(str(os.getpid()))

    def seconds(self):
        if not self.group:
            return sum(seconds for _, seconds in session(self.session))
        with open(self.usage) as file:
            text = file.read()
        if self.usage.endswith("cpuacct.usage"):
            return int(text) / 1e9
        return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6

    def remove(self):
        if not self.group:
            return
        for _ in range(50):
            try:
                return os.rmdir(self.group)
            except OSError:  # the last process is not gone yet
                time.sleep(0.05)
