"""What happens to processes and disks while clients work: a schedule drawn from the seed, run by one thread.

Compilers are those of daemons, and of no client: a local compiler's end is the job's own.
"""

import errno
import os
import random
import signal
import threading
import time
from collections import Counter

from .farm import descendants

# Seconds between two faults of a kind, on average.
MEANS = {
    "compiler killed": 0.7,
    "daemon killed": 25,
    "daemon stopped for a moment": 15,
    "include server killed": 20,
    "disk full for a moment": 10,
}
FULL_SECONDS_MAX = 1.0
STOPPED_SECONDS_MAX = 0.8
DEAD_SECONDS_MAX = 1.0
BLOCK = b"\0" * (1 << 20)


class Injector:
    """The thread. `pace` is how much faster than usual everything happens."""

    def __init__(self, farm, seed, pace):
        self.farm, self.pace = farm, pace
        self.rng = random.Random(f"{seed}/faults")
        self.counts, self.problems = Counter(), []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def gap(self, kind):
        return self.rng.expovariate(1 / MEANS[kind]) / self.pace

    def run(self):
        now = time.monotonic()
        due = {kind: now + self.gap(kind) for kind in MEANS}
        actions = dict(zip(MEANS, (self.kill_compiler, self.kill_daemon, self.freeze, self.kill_server, self.fill_disk)))
        while not self.stopping.is_set():
            kind = min(due, key=due.get)
            if self.stopping.wait(max(0.0, due[kind] - time.monotonic())):
                break
            try:
                if actions[kind]():
                    self.counts[kind] += 1
            except Exception as error:
                self.problems.append(f"{kind}: {error!r}")
            due[kind] = time.monotonic() + self.gap(kind)

    def kill_compiler(self):
        victims = descendants(self.rng.choice(self.farm.daemons).pid)
        if not victims:
            return False
        try:
            os.kill(self.rng.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def kill_daemon(self):
        """The second one, so that the first can be measured from beginning to end."""
        daemon = self.farm.daemons[1]
        if not daemon.is_alive():
            raise RuntimeError("a daemon ended by itself")
        daemon.kill()
        time.sleep(self.rng.uniform(0, DEAD_SECONDS_MAX))
        daemon.start()
        return True

    def freeze(self):
        daemon = self.rng.choice(self.farm.daemons)
        os.kill(daemon.pid, signal.SIGSTOP)
        time.sleep(self.rng.uniform(0, STOPPED_SECONDS_MAX))
        os.kill(daemon.pid, signal.SIGCONT)
        return True

    def kill_server(self):
        server = self.farm.include_servers[1]
        server.kill()
        time.sleep(self.rng.uniform(0, DEAD_SECONDS_MAX))
        # As the build does whose server it was.
        server.stop()
        server.start()
        return True

    def fill_disk(self):
        daemon = self.rng.choice(self.farm.daemons)
        if not daemon.is_mounted:
            return False
        path = f"{daemon.temporary}/full"
        with open(path, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            time.sleep(self.rng.uniform(0.1, FULL_SECONDS_MAX))
        os.unlink(path)
        return True
