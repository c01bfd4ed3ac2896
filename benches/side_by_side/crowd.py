"""Jobs of honest clients beside two thousand connections that are idle or hostile.

What stands in a row's columns is the time a job takes in the crowd, and alone: 1.25 is four fifths of the throughput.
Servers of 3.4 are not asked: as many silent clients as they have processes end their service.
"""

import multiprocessing
import resource
import socket
import time

from .measures import CLIENTS_AT_ONCE, MS
from .peer import Daemon
from .process import run_all
from .report import Row

CROWD = 2000
ADDRESSES = 200
VISITS_PER_SECOND = 20
# Jobs of a measurement, at least: with the stub a second's work.
JOBS_MIN = {"the stub": 400, "the compiler": 12}
ARGUMENTS = b"ARGC00000005ARGV00000002ccARGV00000002-cARGV00000003h.cARGV00000002-oARGV00000003h.o"
PLAIN, PACKED = b"DIST00000001" + ARGUMENTS, b"DIST00000002" + ARGUMENTS
BEGUN = b"DOTI00100000" + b"x" * (64 << 10)
WHOLE = PLAIN + b"DOTI00000007int x;\n"
# What a member of the crowd sends before it falls silent; of those that are told to trickle, every byte takes a second.
OPENINGS = [b"", b"", b"", b"", PLAIN[:7], PLAIN[:40], PLAIN + BEGUN, PACKED + BEGUN, WHOLE, None]


def from_address(number, port):
    stream = socket.socket()
    # Of a reply that nobody reads, the kernel is not to keep more than it must.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
    stream.connect(("127.0.0.1", port))
    return stream


def be_a_crowd(port, is_there):
    """Connects, and goes on trickling, and visiting with garbage, until it is terminated."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    members, trickling = [], []
    for number in range(CROWD):
        stream, opening = from_address(number, port), OPENINGS[number % len(OPENINGS)]
        members.append(stream)
        if opening is None:
            trickling.append(stream)
        else:
            stream.sendall(opening)
        stream.setblocking(False)
    is_there.set()
    visit = 0
    while True:
        try:
            if visit % VISITS_PER_SECOND == 0:
                at = visit // VISITS_PER_SECOND % len(PLAIN)
                for stream in trickling:
                    stream.send(PLAIN[at : at + 1])
            with from_address(visit, port) as stream:
                stream.sendall(b"\xff" * 10000)
        except OSError:
            pass  # it had enough of one
        visit += 1
        time.sleep(1 / VISITS_PER_SECOND)


class Crowd:
    """The crowd, in a process of its own, from `with` to its end."""

    def __init__(self, daemon):
        context = multiprocessing.get_context("fork")
        self.is_there = context.Event()
        self.process = context.Process(target=be_a_crowd, args=(daemon.port, self.is_there), daemon=True)

    def __enter__(self):
        self.process.start()
        self.is_there.wait()

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


def crowded(bench):
    """Our client and daemon: the time of one of several clients' jobs in a crowd, and alone."""
    rows = []
    for name, compilers in (("the stub", bench.stub), ("the compiler", None)):
        samples = {True: [], False: []}
        with Daemon(bench.ours, "crowd", compilers) as daemon:
            environment = bench.ours.environment(daemon, None)
            commands = [
                (bench.ours.distcc, ["distcc", *job.argv_preprocessed], environment, {"directory": job.directory})
                for job in bench.jobs
            ]
            commands *= -(-JOBS_MIN[name] // len(commands))

            def measure(is_crowded, keep=True):
                # What is queued before is done before.
                bench.compile(bench.ours, daemon, bench.jobs[0].argv_preprocessed, bench.jobs[0].directory, environment)
                statuses, wall = run_all(commands, CLIENTS_AT_ONCE)
                if any(statuses):
                    bench.fail(bench.ours, daemon, ["one of several clients"])
                if keep:
                    samples[is_crowded].append(MS * wall / len(commands))

            measure(False, keep=False)
            for turn in range(bench.passes):
                for is_crowded in bench.in_turn(turn, (False, True)):
                    if is_crowded:
                        with Crowd(daemon):
                            measure(True)
                    else:
                        measure(False)
        label = f"a job with {name}: beside {CROWD} idle and hostile connections, and alone"
        rows.append(Row(label, "ms", samples[True], samples[False], target=1.25))
    return rows
