"""What is measured, one function for each part. Each returns rows of samples, one sample a pass and column.

Whatever is compared alternates: A B, then B A, in the smallest step that the method allows, so that a machine
that becomes slower or faster meanwhile does so for both.
"""

import os
import statistics
import time

from .peer import DAEMON_JOBS, Daemon
from .process import Failure, run, run_all
from .report import Row
from .work import small_files
from .workshop import read_records

STARTS_PER_PASS = 100
SMALL_FILES = 12
CLIENTS_AT_ONCE = 4
# Daemons remove a job's files after they have answered.
SETTLE_SECONDS = 0.3
MODES = (("plain", ""), ("LZO", ",lzo"))
MS = 1000


class Bench:
    """What every measurement needs. `theirs` is the reference."""

    def __init__(self, workshop, ours, theirs, jobs, canned, passes, say):
        self.workshop, self.ours, self.theirs, self.say = workshop, ours, theirs, say
        self.peers = (ours, theirs)
        self.jobs, self.canned, self.passes = jobs, canned, passes
        self.stub = workshop.add_stub(canned)
        self.errors = workshop.path("client.log")

    def in_turn(self, number, things):
        """The things of one comparison, in the order for this step."""
        return things if number % 2 == 0 else tuple(reversed(things))

    def compile(self, peer, daemon, argv, directory, environment):
        ended = run(peer.distcc, ["distcc", *argv], environment, directory=directory, stderr=self.errors)
        if ended.status != 0:
            self.fail(peer, daemon, argv)
        return ended

    def run_stub(self, job):
        """The stub as a daemon would run it, but by itself."""
        alone = ["cc", "-c", job.preprocessed, "-o", job.output]
        return run(f"{self.stub}/stub", alone, self.workshop.environment())

    def fail(self, peer, daemon, argv):
        with open(self.errors, errors="replace") as file:
            said = file.read().strip()[-500:]
        raise Failure(f"{peer.label}: {' '.join(argv)} failed: {said}; the daemon said: {daemon.last_words()}")


def process_start(bench):
    """`distcc --version`: wall time of a whole process."""
    samples = {peer: [] for peer in bench.peers}
    cpu = {peer: [] for peer in bench.peers}
    environment = bench.workshop.environment()
    for _ in range(bench.passes):
        ended = {peer: [] for peer in bench.peers}
        for step in range(STARTS_PER_PASS):
            for peer in bench.in_turn(step, bench.peers):
                ended[peer].append(run(peer.distcc, ["distcc", "--version"], environment))
        for peer in bench.peers:
            samples[peer].append(MS * statistics.median(one.wall for one in ended[peer]))
            cpu[peer].append(MS * statistics.fmean(one.cpu for one in ended[peer]))
    return [
        Row("process start", "ms", samples[bench.ours], samples[bench.theirs], target=0.35),
        Row("process start, CPU", "ms", cpu[bench.ours], cpu[bench.theirs]),
    ]


def client_cpu(bench):
    """CPU of a client and the preprocessor it runs, less that of the same preprocessor run alone.

    Both clients use the reference's daemon with the stub, so that the other side is the same.
    """
    with Daemon(bench.theirs, "client-cpu", bench.stub) as daemon:
        alone = {peer: preprocessor_commands(bench, peer, daemon) for peer in bench.peers}
        same = alone[bench.ours] == alone[bench.theirs]
        if same:
            alone.pop(bench.theirs)
        contenders = [(peer, mode, options) for peer in bench.peers for mode, options in MODES]
        environments = {c: c[0].environment(daemon, None, c[2]) for c in contenders}
        plain = bench.workshop.environment()
        output = bench.workshop.path("preprocessed.i")
        samples = []
        for turn in range(bench.passes):
            spent = dict.fromkeys([*contenders, *alone, "nothing"], 0.0)
            for number, job in enumerate(bench.jobs):
                for each in bench.in_turn(turn + number, (*contenders, *alone, "nothing")):
                    if each == "nothing":
                        ended = run(f"{bench.stub}/stub", ["stub"], plain)
                    elif each in alone:
                        program, argv = alone[each][number]
                        ended = run(program, argv, plain, directory=job.directory, stdout=output)
                    else:
                        ended = bench.compile(each[0], daemon, job.argv, job.directory, environments[each])
                    spent[each] += MS * ended.cpu / len(bench.jobs)
            samples.append(spent)
    rows = []
    for mode, options in MODES:
        both = [(bench.ours, mode, options), (bench.theirs, mode, options)]
        bases = [bench.ours, bench.ours if same else bench.theirs]
        above = [[s[who] - s[base] for s in samples] for who, base in zip(both, bases)]
        rows.append(Row(f"client CPU above the preprocessor, {mode}", "ms/job", *above, target=0.3))
        if mode == "plain":
            nothing = [s["nothing"] for s in samples]
            net = [[value - start for value, start in zip(column, nothing)] for column in above]
            rows.append(Row("  less an empty process start", "ms/job", *net))
    rows.append(Row("  (the preprocessor alone)", "ms/job", *[[s[base] for s in samples] for base in bases]))
    return rows


def preprocessor_commands(bench, peer, daemon):
    """The command by which a client preprocesses each job: (program, argv)."""
    recorder, records = bench.workshop.add_recorder(f"{peer.name}.preprocessor")
    environment = peer.environment(daemon, recorder)
    commands = []
    for job in bench.jobs:
        bench.compile(peer, daemon, job.argv, job.directory, environment)
        found = [argv for _, argv in read_records(records) if "-E" in argv]
        if not found:
            raise Failure(f"{peer.label} did not preprocess {' '.join(job.argv)}")
        commands.append((bench.workshop.find(found[-1][0]), found[-1]))
        for name in os.listdir(records):
            os.remove(f"{records}/{name}")
    return commands


def daemon_cpu(bench):
    """CPU of a daemon and everything it starts; the compiler is the stub.

    Both daemons are asked by the reference's client, with text that is preprocessed already.
    """
    client = bench.theirs
    daemons = {}
    samples = []
    try:
        for peer in bench.peers:
            for mode, options in MODES:
                daemons[peer, mode] = Daemon(peer, f"daemon-cpu-{mode}", bench.stub).__enter__()
        environments = {
            (peer, mode): client.environment(daemons[peer, mode], None, options)
            for peer in bench.peers
            for mode, options in MODES
        }
        for turn in range(bench.passes + 1):
            before = {key: daemon.meter.seconds() for key, daemon in daemons.items()}
            stub = 0.0
            for number, job in enumerate(bench.jobs):
                for key in bench.in_turn(turn + number, tuple(daemons)):
                    argv = job.argv_preprocessed
                    bench.compile(client, daemons[key], argv, job.directory, environments[key])
                stub += bench.run_stub(job).cpu
            time.sleep(SETTLE_SECONDS)
            spent = {key: daemon.meter.seconds() - before[key] for key, daemon in daemons.items()}
            spent["stub"] = stub
            samples.append({key: MS * value / len(bench.jobs) for key, value in spent.items()})
        exact = all(daemon.meter.exact for daemon in daemons.values())
    finally:
        for daemon in daemons.values():
            daemon.__exit__()
    samples = samples[1:]  # the first pass warms up
    stub = [s["stub"] for s in samples]
    rows = []
    for mode, _ in MODES:
        columns = [[s[peer, mode] for s in samples] for peer in bench.peers]
        note, target = ("", 0.5) if exact else (" (rough, without root)", None)
        rows.append(Row(f"daemon CPU with the stub{note}, {mode}", "ms/job", *columns, target=target))
        own = [[value - alone for value, alone in zip(column, stub)] for column in columns]
        rows.append(Row("  less the stub", "ms/job", *own))
    rows.append(Row("  (the stub alone)", "ms/job", stub, stub))
    return rows


def two_slots(bench):
    """Small files with more of them than slots: wall time of make through one daemon, and of make alone."""
    tree = small_files(bench.workshop, SMALL_FILES)
    hosts = {}
    samples = {}
    with Daemon(bench.ours, "slots", None) as ours, Daemon(bench.theirs, "slots", None) as theirs:
        daemons = {bench.ours: ours, bench.theirs: theirs}
        contenders = {"local": None, "ours": (bench.ours, {}), "theirs": (bench.theirs, {})}
        contenders["theirs, 5 ms"] = (bench.theirs, {"DISTCC_PAUSE_TIME_MSEC": "5"})
        for name, how in contenders.items():
            samples[name] = []
            hosts[name] = bench.workshop.environment()
            if how:
                peer, more = how
                hosts[name] = peer.environment(daemons[peer], None, slots=2, LAUNCHER=peer.distcc, **more)
        for turn in range(bench.passes + 1):
            for name in bench.in_turn(turn, tuple(contenders)):
                width = 2 if name == "local" else SMALL_FILES
                make = bench.workshop.find("make")
                run(make, ["make", "-s", "clean"], hosts[name], directory=tree)
                argv = ["make", "-s", f"-j{width}"]
                ended = run(make, argv, hosts[name], directory=tree, stderr=bench.errors)
                if ended.status != 0:
                    peer = contenders[name][0] if contenders[name] else bench.ours
                    bench.fail(peer, daemons[peer], argv)
                samples[name].append(ended.wall)
    samples = {name: values[1:] for name, values in samples.items()}
    label = f"{SMALL_FILES} small files on 2 slots"
    local = samples["local"]
    return [
        Row(f"{label}: ours and make -j2", "s", samples["ours"], local, target=1.2),
        Row(f"{label}: ours and 3.4", "s", samples["ours"], samples["theirs"]),
        Row("  and 3.4 with DISTCC_PAUSE_TIME_MSEC=5", "s", samples["ours"], samples["theirs, 5 ms"]),
    ]


def speed(bench):
    """Each client with its own daemon and the stub: the time of one job, and jobs a second of several clients."""
    rows = []
    for mode, options in MODES:
        latency = {peer: [] for peer in bench.peers}
        rate = {peer: [] for peer in bench.peers}
        with Daemon(bench.ours, "speed", bench.stub) as ours, Daemon(bench.theirs, "speed", bench.stub) as theirs:
            daemons = {bench.ours: ours, bench.theirs: theirs}
            environments = {peer: peer.environment(daemons[peer], None, options) for peer in bench.peers}
            for turn in range(bench.passes + 1):
                walls = {peer: [] for peer in bench.peers}
                for number, job in enumerate(bench.jobs):
                    for peer in bench.in_turn(turn + number, bench.peers):
                        argv = job.argv_preprocessed
                        ended = bench.compile(peer, daemons[peer], argv, job.directory, environments[peer])
                        walls[peer].append(ended.wall)
                for peer in bench.in_turn(turn, bench.peers):
                    latency[peer].append(MS * statistics.median(walls[peer]))
                    commands = [
                        (peer.distcc, ["distcc", *job.argv_preprocessed], environments[peer], {"directory": job.directory})
                        for job in bench.jobs
                    ]
                    statuses, wall = run_all(commands, CLIENTS_AT_ONCE)
                    if any(statuses):
                        bench.fail(peer, daemons[peer], ["one of several clients"])
                    rate[peer].append(len(commands) / wall)
        first = f"time of one job, {mode}"
        rows.append(Row(first, "ms", *[latency[peer][1:] for peer in bench.peers]))
        rows.append(Row(f"jobs/s, {CLIENTS_AT_ONCE} clients, {mode}", "1/s", *[rate[p][1:] for p in bench.peers]))
    return rows
