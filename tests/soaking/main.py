"""The command line of tests/soak."""

import argparse
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import work
from .clients import Client, Crew
from .farm import Failure, Farm, descendants
from .hostile import SOURCE, HostileProcess
from .injector import Injector
from .relay import RelayProcess
from .watch import Watch, descriptors

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLD_CLIENT = "/usr/bin/distcc"
# Fewer jobs than this are a rehearsal: everything happens more often, so that it happens at all.
REHEARSAL_JOBS = 2000
REHEARSAL_PACE = 12
REHEARSAL_OFTEN = 2
# Each distinct command is compiled here first, and then on average so often by clients.
JOBS_EACH = 8
# Whoever is silent for so many seconds is given up, by clients and daemons.
SILENCE_SECONDS = 20
REHEARSAL_SILENCE_SECONDS = 3
HOSTILE_PAUSE_SECONDS = 2.0
# What is left must be gone after this time, and the daemons as they were before.
SETTLE_SECONDS = 30
REPORT_SECONDS = 30
# So much of the jobs must have been compiled by daemons: else it was this machine that was tested.
REMOTE_MIN = 0.5
# gcc removes its files when the client that waits for it is killed; its cc1 may make one anew before it ends, too.
COMPILERS_OWN = re.compile(r"cc\w{6}\.\w+")
PRIVATE_MOUNTS = "SOAK_HAS_PRIVATE_MOUNTS"


def options(argv):
    parser = argparse.ArgumentParser(
        prog="tests/soak",
        description="Runs mixed jobs (plain, LZO, pump; gcc and clang; C and C++; right, warning and wrong; our client "
        "and that of distcc 3.4) against two daemons while compilers, clients, a daemon and an include server are "
        "killed, connections cut, delayed and garbled, disks filled, and hostile clients visit. Every object, exit "
        "code, message and dependency file is compared with a local compiler's. Exit status: 0 all is right and "
        "nothing is left behind or grows, 1 something is not, 2 no result.",
    )
    newest = max(glob.glob(f"{REPOSITORY}/target/*/release/distcc"), key=os.path.getmtime, default=None)
    parser.add_argument("--binary", default=newest, help="the program (default: the newest release build here)")
    parser.add_argument("--jobs", type=int, default=20000, metavar="N", help="how many jobs (%(default)s)")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after this time, though jobs are left")
    parser.add_argument("--seed", type=int, metavar="N", help="what is drawn: jobs, faults, times")
    parser.add_argument("--workers", type=int, default=3 * os.cpu_count(), metavar="N", help="clients at once (%(default)s)")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="stop after so many wrong ends (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the directory, with the daemons' logs, also after a success")
    chosen = parser.parse_args(argv)
    if not chosen.binary:
        parser.error("there is no release build; run cargo build --release, or name a --binary")
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(1 << 31)
    return chosen


def say(text):
    print(text, flush=True)


def with_private_mounts():
    """Starts over where what is mounted is mounted for this process only. Without root, disks are not filled."""
    if os.geteuid() == 0 and PRIVATE_MOUNTS not in os.environ and shutil.which("unshare"):
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0:
            words = ["unshare", "--mount", sys.executable, *sys.orig_argv[1:]]
            os.execvpe(words[0], words, dict(os.environ, **{PRIVATE_MOUNTS: "1"}))


def await_quiet(farm, before):
    """Waits until the daemons hold nothing and do nothing. Returns what is left."""
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        left = []
        for daemon in farm.daemons:
            name = f"daemon {daemon.number + 1}"
            if not daemon.is_alive():
                left.append(f"{name} is not alive")
                continue
            left += [f"{name}: process {pid} is left" for pid in descendants(daemon.pid)]
            left += [f"{name}: file {path} is left" for path in daemon.files()]
            more = descriptors(daemon.pid) - before
            left += [f"{name}: {count} more of descriptor {what}" for what, count in more.items()]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def what_is_left(farm):
    """Looks at what remains when everything has been stopped."""
    left = [f"process {pid} is left: {words}" for pid, words in farm.processes()]
    names = [name for name in os.listdir(f"{farm.work}/tmp") if not COMPILERS_OWN.fullmatch(name)]
    left += [f"{farm.work}/tmp/{name} is left" for name in names]
    return left


def soak(chosen, work_directory):
    """Returns the sections of the summary, and what is wrong."""
    is_rehearsal = chosen.jobs < REHEARSAL_JOBS
    pace, often = (REHEARSAL_PACE, REHEARSAL_OFTEN) if is_rehearsal else (1, 1)
    silence = REHEARSAL_SILENCE_SECONDS if is_rehearsal else SILENCE_SECONDS
    farm = Farm(chosen.binary, work_directory, 2 * os.cpu_count(), silence)
    commands = work.commands(f"{work_directory}/src", REPOSITORY, chosen.seed, chosen.jobs // JOBS_EACH)
    relay = hostile = None
    with farm:
        clients = [Client("ours", f"{farm.bin}/distcc", farm, False)]
        if os.access(OLD_CLIENT, os.X_OK):
            clients.append(Client("3.4", OLD_CLIENT, farm, True))
        expected = work.expectations(commands, farm, clients)
        before = descriptors(farm.daemons[0].pid)
        relay = RelayProcess([daemon.port for daemon in farm.daemons], chosen.seed, often, work_directory)
        hostile = HostileProcess(
            [daemon.port for daemon in farm.daemons], chosen.seed, HOSTILE_PAUSE_SECONDS / pace, work_directory
        )
        crew = Crew(farm, relay, commands, expected, clients, chosen)
        injector, watch = Injector(farm, chosen.seed, pace), Watch(farm)
        say(f"soak: seed {chosen.seed}: {chosen.jobs} jobs of {len(commands)} commands, {chosen.workers} at once")
        began, reports, told = time.monotonic(), 0, 0
        for each in (watch, injector, crew):
            each.start()
        while crew.is_working():
            time.sleep(0.2)
            for problem in crew.wrong[told:]:
                say(f"WRONG {problem}")
                told += 1
            if time.monotonic() - began > (reports + 1) * REPORT_SECONDS:
                reports += 1
                say(f"  {time.monotonic() - began:5.0f} s: {crew.done} jobs, {len(crew.wrong)} wrong")
        seconds = time.monotonic() - began
        injector.stop()
        watch.stop()
        faults = injector.counts + hostile_counts(hostile.stop())
        relayed = relay.stop()
        crew.look_at_the_killed()
        left = await_quiet(farm, before)
        compiled = [daemon.compiled(SOURCE.decode()) for daemon in farm.daemons]
    left += what_is_left(farm)
    rows = list(watch.judge())
    problems = crew.wrong + injector.problems + watch.problems + left
    remote = sum(map(sum, compiled))
    if not problems and remote < REMOTE_MIN * crew.done:
        problems.append(f"only {remote} of {crew.done} jobs were compiled by daemons")
    summary = (crew, seconds, faults, relayed, compiled, watch, rows)
    return summary, problems


def hostile_counts(counts):
    return type(counts)({f"hostile client: {kind}": count for kind, count in counts.items()})


def show(summary):
    crew, seconds, faults, relayed, compiled, watch, rows = summary
    say(f"\n{crew.done} jobs in {seconds:.0f} s ({crew.done / seconds:.1f}/s), the slowest {crew.slowest:.1f} s")
    for name, count in sorted(crew.counts.items()):
        say(f"  {count:8}  {name}")
    say("compiled by daemons")
    for number, (good, bad) in enumerate(compiled):
        say(f"  {good:8}  jobs by daemon {number + 1}, and {bad} with errors")
    say("connections and what befell them")
    for name, count in sorted(relayed.items()):
        say(f"  {count:8}  {name}")
    say("other faults")
    for name, count in sorted(faults.items()):
        say(f"  {count:8}  {name}")
    say(f"most at once: {watch.most['compilers']} processes below a daemon, {watch.most['files']} files in a TMPDIR")
    say(f"{'held':34} {'samples':>7} {'1st half':>9} {'2nd half':>9} {'growth':>9} {'chance':>8} {'bound':>9}")
    for name, what, samples, first, second, grown, chance, bound in rows:
        say(f"{name + ': ' + what:34} {samples:7} {first:9.1f} {second:9.1f} {grown:9.1f} {chance:8.1f} {bound:9.1f}")


def main():
    chosen = options(sys.argv[1:])
    with_private_mounts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    directory = tempfile.mkdtemp(prefix="distcc-soak.")
    os.chmod(directory, 0o755)
    try:
        summary, problems = soak(chosen, directory)
        show(summary)
        chosen.keep = chosen.keep or bool(problems)
    except Failure as failure:
        say(f"soak: {failure}")
        return 2
    finally:
        if not chosen.keep:
            shutil.rmtree(directory, ignore_errors=True)
    for problem in problems:
        say(f"WRONG {problem}")
    if chosen.keep:
        say(f"kept: {directory}")
    if problems:
        say(f"soak: FAILED; to repeat it: tests/soak --seed {chosen.seed} --jobs {chosen.jobs} --workers {chosen.workers}")
        return 1
    say(f"soak: passed, seed {chosen.seed}")
    return 0
