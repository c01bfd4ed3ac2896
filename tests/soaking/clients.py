"""The clients: jobs drawn from a seed, run by several workers, and every end of one judged.

With fallback every job must give what a local compiler gives. Without, a failure to distribute may be one, said so and
with a code of distcc's own. A client that was killed leaves the whole object or none.
"""

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter

from . import work
from .farm import SLOTS
from .relay import CONTENT_MARK

JOB_SECONDS_MAX = 120
WITHOUT_FALLBACK = 0.08
KILLED = 0.012
KILL_SECONDS_MAX = 0.09
# What is looked at again later: a compiler that a killed client had started here may still be writing.
LATER_SECONDS = 3
# Clients say that they failed to distribute a job, or that compiling it failed over there: there, somebody may have
# killed the compiler, or filled its disk.
FAILED = re.compile(rb"(?m)^distcc\[\d+\] .*fail")
# What a compiler over there says of a part that was killed, or that had no room. Its exit code is that of any failure.
INTERRUPTED = re.compile(rb"(?m)^\S+: .*(?:[Kk]illed|No space left on device)")
CRASHES = (signal.SIGABRT, signal.SIGSEGV)
OWN_LINE = re.compile(rb"(?m)^distcc\[\d+\] .*\n?")
VERDICT_LINE = re.compile(rb"(?m)^([^:\n]+:\d+:)(?:\d+:)? ((?:fatal error|error|warning): .*)$")
MODES = {"plain": "", "LZO": ",lzo", "pump": ",lzo,cpp"}


class Client:
    """A program, and how it is told of the daemons."""

    def __init__(self, name, program, farm, is_old):
        self.name, self.program, self.farm, self.is_old = name, program, farm, is_old
        self.calm_hosts = [f"127.0.0.1:{daemon.port}/{SLOTS}" for daemon in farm.daemons]

    def environment(self, hosts, **more):
        return self.farm.environment(self.is_old, DISTCC_HOSTS=hosts, **more)


class Job:
    """One job, as the seed has it."""

    def __init__(self, number, seed, commands, clients):
        rng = random.Random(f"{seed}/job/{number}")
        self.number = number
        self.command = rng.choices(commands, [command.weight for command in commands])[0]
        self.client = rng.choices(clients, (7, 3)[: len(clients)])[0]
        self.mode = rng.choice(tuple(MODES))
        self.has_fallback = rng.random() >= WITHOUT_FALLBACK
        self.include_server = rng.randrange(2)
        self.killed_after = rng.uniform(0, KILL_SECONDS_MAX) if rng.random() < KILLED else None
        self.order = rng.sample(range(2), 2)


class Crew:
    """Workers that run jobs until all are done or the time is up."""

    def __init__(self, farm, relay, commands, expected, clients, options):
        self.farm, self.relay, self.options = farm, relay, options
        self.commands, self.expected, self.clients = commands, expected, clients
        self.lock, self.next, self.done = threading.Lock(), 0, 0
        self.counts, self.wrong, self.slowest = Counter(), [], 0.0
        self.later = []
        self.until = time.monotonic() + options.seconds if options.seconds else None
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(options.workers)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def is_working(self):
        return any(thread.is_alive() for thread in self.threads)

    def draw(self):
        with self.lock:
            late = self.until and time.monotonic() > self.until
            if self.next >= self.options.jobs or late or len(self.wrong) >= self.options.show:
                return None
            self.next += 1
            return self.next

    def work(self):
        while number := self.draw():
            job = Job(number, self.options.seed, self.commands, self.clients)
            try:
                problem = self.run(job)
            except Exception as error:  # the worker is gone else, and nobody knows
                problem = f"the worker: {error!r}"
            with self.lock:
                self.done += 1
                self.counts[f"{job.client.name}, {job.mode}"] += 1
                if problem:
                    words = " ".join(job.command.words)
                    self.wrong.append(f"job {number} ({job.client.name}, {job.mode}): {words}: {problem}")

    def environment(self, job):
        ports = [self.relay.ports[index] for index in job.order]
        hosts = " ".join(f"127.0.0.1:{port}/{SLOTS}{MODES[job.mode]}" for port in ports)
        more = {} if job.has_fallback else {"DISTCC_FALLBACK": "0"}
        if job.mode == "pump":
            more.update(self.farm.include_servers[job.include_server].variables)
        return job.client.environment(hosts, **more)

    def run(self, job):
        """Runs a job to its end. Returns what is wrong, if anything is."""
        output = f"{self.farm.work}/out/{job.number}"
        words = [job.client.program, *work.with_outputs(job.command, output)]
        began = time.monotonic()
        process = subprocess.Popen(
            words, cwd=f"{self.farm.work}/src", env=self.environment(job), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        if job.killed_after is not None:
            time.sleep(job.killed_after)
            process.kill()
        try:
            stdout, stderr = process.communicate(timeout=JOB_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"no end within {JOB_SECONDS_MAX} s"
        self.slowest = max(self.slowest, time.monotonic() - began)
        if process.returncode == -9 and job.killed_after is not None:
            self.counts["clients killed"] += 1
            if not job.client.is_old:
                self.later.append((time.monotonic() + LATER_SECONDS, output, job.command.number))
            return None
        marks = self.relay.marks_of(f"{job.number}.o")
        problem = self.judge(job, process.returncode, stdout, stderr, output, CONTENT_MARK in marks)
        if not problem:
            self.clear(output)
        return problem

    def judge(self, job, status, stdout, stderr, output, is_changed):
        """What is wrong with how a job ended. `is_changed` if its source was, on the way."""
        expected = self.expected[job.command.number]
        made, dependencies = work.read(f"{output}.o"), work.read(f"{output}.d")
        if is_changed:
            same = status == expected.status and made in expected.objects
            self.counts["source changed on the way, " + ("same result" if same else "another result")] += 1
            return None if status >= 0 else f"ended by signal {-status}"
        if job.client.is_old and -status in CRASHES:
            # It frees something twice when its include server is killed in the middle of an answer.
            self.counts[f"{job.client.name}: crashed"] += 1
            return None
        said = OWN_LINE.sub(b"", stderr)
        if not job.has_fallback and status != expected.status:
            self.counts["true errors without fallback"] += 1
            if status < 0 or not FAILED.search(stderr):
                return f"exit code {status} without fallback, not said why: {stderr!r}"
            return None if made is None else "an object after a failure"
        if status != expected.status:
            return f"exit code {status} instead of {expected.status}: {stderr!r}"
        if made not in expected.objects:
            size = None if made is None else len(made)
            return f"a wrong object ({size} bytes) in {output}.o: {stderr!r}"
        if status == 0 and dependencies != expected.dependencies:
            return f"wrong dependencies: {dependencies!r} instead of {expected.dependencies!r}"
        if not job.has_fallback and status != 0 and INTERRUPTED.search(stderr):
            self.counts["true errors without fallback"] += 1
            return None if made is None else "an object after a failure"
        # Clients of 3.4 pass on what comes, also of a reply that derails later.
        if stdout != expected.stdout and not job.client.is_old:
            return f"standard output {stdout!r}"
        return self.judge_words(job, said, expected.stderr)

    def judge_words(self, job, said, expected):
        """A server of preprocessed text cannot quote the source, nor count columns. Clients of 3.4 repeat themselves,
        and warn of what a comment permits, because their text has none."""
        if said == expected:
            return None
        self.counts[f"{job.client.name}: said without the quoted source, or twice"] += 1
        wanted, heard = VERDICT_LINE.findall(expected), VERDICT_LINE.findall(said)
        if set(wanted) <= set(heard) if job.client.is_old else wanted and heard == wanted:
            return None
        return f"it said {said!r} instead of {expected!r}"

    @staticmethod
    def clear(output):
        for suffix in (".o", ".d"):
            try:
                os.unlink(output + suffix)
            except FileNotFoundError:
                pass

    def look_at_the_killed(self):
        """What killed clients have left under their outputs' names."""
        for when, output, number in self.later:
            time.sleep(max(0.0, when - time.monotonic()))
            made = work.read(f"{output}.o")
            if made is not None and made not in self.expected[number].objects:
                self.wrong.append(f"a killed client left {len(made)} bytes in {output}.o")
            self.clear(output)
