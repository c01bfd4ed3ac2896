"""What daemons and include servers hold, sampled all the time, and whether it grows."""

import json
import os
import re
import statistics
import threading
import time
from collections import Counter

from .farm import descendants, state_of

SAMPLE_SECONDS = 5
# What a line through the second half of the samples may rise by over that half, beyond four times what chance does to it.
GROWTH_MAX = {"memory": 2048, "descriptors": 4, "threads": 2}
UNITS = {"memory": "kB", "descriptors": "", "threads": ""}
STANDARD_ERRORS = 4
SAMPLES_MIN = 12


def held(pid):
    """What a process holds: memory of its own in kB, descriptors, threads."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return {
        "memory": int(status["RssAnon"].split()[0]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def descriptors(pid):
    """What a process has open, by kind: {what a descriptor leads to, without numbers: how many do}."""
    kinds = Counter()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            # What a daemon has open may be replaced while it runs.
            target = os.readlink(f"/proc/{pid}/fd/{number}").removesuffix(" (deleted)")
            kinds[re.sub(r"\d+", "N", target)] += 1
        except OSError:
            continue  # it was closed just now
    return kinds


def growth(samples):
    """(what a line through the samples rises by, what chance may do to that)."""
    if len(samples) < SAMPLES_MIN:
        return None
    times, values = zip(*samples)
    line = statistics.linear_regression(times, values)
    length = times[-1] - times[0]
    residues = [value - line.slope * at - line.intercept for at, value in samples]
    spread = (sum(each * each for each in residues) / (len(samples) - 2)) ** 0.5
    error = spread / (sum((at - statistics.fmean(times)) ** 2 for at in times)) ** 0.5
    return line.slope * length, error * length


class Watch:
    """The thread that samples, and what it saw: `series[name][what]` is a list of (seconds, value)."""

    def __init__(self, farm):
        self.farm, self.series, self.problems = farm, {}, []
        self.most = {"compilers": 0, "files": 0, "kilobytes": 0}
        self.zombies, self.began = set(), time.monotonic()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def watched(self):
        """(name, process); a name stands for one life."""
        for daemon in self.farm.daemons:
            yield f"daemon {daemon.number + 1}, life {daemon.starts}", daemon.pid
        for server in self.farm.include_servers:
            yield f"include server {server.number + 1}, process {server.pid}", server.pid

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def run(self):
        while not self.stopping.wait(SAMPLE_SECONDS):
            try:
                self.sample()
            except Exception as error:
                self.problems.append(f"watching: {error!r}")

    def sample(self):
        now = time.monotonic() - self.began
        for name, pid in self.watched():
            try:
                values = held(pid)
            except (OSError, KeyError, TypeError):
                continue  # it was killed just now
            for what, value in values.items():
                self.series.setdefault(name, {}).setdefault(what, []).append((now, value))
        zombies = set()
        for daemon in self.farm.daemons:
            below = descendants(daemon.pid)
            zombies |= {pid for pid in below if state_of(pid) == "Z"}
            files = daemon.files()
            self.most["compilers"] = max(self.most["compilers"], len(below))
            self.most["files"] = max(self.most["files"], len(files))
        for pid in zombies & self.zombies:
            self.problems.append(f"process {pid} was a zombie for {SAMPLE_SECONDS} s")
        self.zombies = zombies

    def judge(self):
        """Rows of (name, what, samples, first half's mean, second half's, growth, chance, bound) of long lives."""
        with open(f"{self.farm.work}/series.json", "w") as file:
            json.dump(self.series, file)
        for name, series in self.series.items():
            for what, samples in series.items():
                second = samples[len(samples) // 2 :]
                grown = growth(second)
                if grown is None:
                    continue
                bound = GROWTH_MAX[what] + STANDARD_ERRORS * grown[1]
                means = [statistics.fmean(value for _, value in half) for half in (samples[: len(samples) // 2], second)]
                if grown[0] > bound:
                    self.problems.append(f"{name}: {what} grew by {grown[0]:.1f} in the second half")
                yield name, what, len(samples), *means, *grown, bound
