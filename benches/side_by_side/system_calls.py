"""Counts the system calls of one job, client and daemon, with strace. For information only: no times come from it.

Counted is what distcc itself does, its threads and forks included, up to the moment when a process becomes
another program: what a preprocessor or compiler does is not distcc's.
"""

import os
import re
import shutil
import time
from collections import Counter

from .peer import Daemon
from .process import Failure, run

SETTLE_SECONDS = 0.3
CALL = re.compile(r"(\d+) +(?:<\.\.\. )?([a-z_0-9]+)(\(| resumed>)")
NEW_PROCESS = re.compile(r"(\d+) +(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = (\d+)$")


def count(lines, is_distcc):
    """Calls by name. `is_distcc` tells from a line with execve whether the new program is distcc."""
    made, foreign = {}, {}
    for at, line in enumerate(lines):
        if match := NEW_PROCESS.match(line):
            made[match[2]] = (match[1], at)
        match = CALL.match(line)
        # A failed one leaves the process as it is; distcc makes none once it knows the compiler.
        if match and match[2] == "execve" and match[3] == "(" and not is_distcc(line):
            foreign.setdefault(match[1], at)

    def is_ours(process):
        if process not in made:
            return True
        parent, at = made[process]
        return is_ours(parent) and at <= foreign.get(parent, at)

    calls = Counter()
    for at, line in enumerate(lines):
        match = CALL.match(line)
        if match and match[3] == "(" and is_ours(match[1]) and at <= foreign.get(match[1], at):
            calls[match[2]] += 1
    return calls


def system_calls(bench):
    """Counters {label: {"client": Counter, "daemon": Counter}}, or none without strace."""
    strace = shutil.which("strace")
    if not strace:
        return {}
    job = bench.jobs[len(bench.jobs) // 2]
    counted = {}
    for peer in bench.peers:
        trace = bench.workshop.path(f"{peer.name}.client.trace")
        with Daemon(peer, "calls", bench.stub) as daemon:
            environment = peer.environment(daemon, None)
            for _ in range(2):  # the first finds no lock files
                argv = ["strace", "-f", "-qq", "-o", trace, peer.distcc, *job.argv]
                if run(strace, argv, environment, directory=job.directory, stderr=bench.errors).status != 0:
                    bench.fail(peer, daemon, argv)
        with open(trace, errors="replace") as file:
            client = count(file.read().splitlines(), lambda line: peer.distcc in line.split(",")[0])
        counted[peer.label] = {"client": client, "daemon": daemon_calls(bench, peer, strace, job)}
    return counted


def daemon_calls(bench, peer, strace, job):
    trace = bench.workshop.path(f"{peer.name}.daemon.trace")
    tracer = [strace, "-f", "-qq", "-o", trace]
    with Daemon(peer, "calls-traced", bench.stub, tracer=tracer) as daemon:
        environment = peer.environment(daemon, None)

        def one():
            bench.compile(peer, daemon, job.argv_preprocessed, job.directory, environment)
            time.sleep(SETTLE_SECONDS)
            return os.path.getsize(trace)

        one()
        begin, end = one(), one()
    with open(trace, "rb") as file:
        file.seek(begin)
        lines = file.read(end - begin).decode(errors="replace").splitlines()
    return count(lines, lambda line: False)


def listing(counted):
    """The counters side by side, as text."""
    if not counted:
        return "system calls: not counted, because strace is not installed"
    lines = []
    for side in ("client", "daemon"):
        totals = ", ".join(f"{label} {sum(sides[side].values())}" for label, sides in counted.items())
        lines.append(f"system calls of one job, {side}: {totals}")
        for label, sides in counted.items():
            calls = ", ".join(f"{name} {number}" for name, number in sides[side].most_common())
            lines.append(f"  {label}: {calls}")
    return "\n".join(lines)
