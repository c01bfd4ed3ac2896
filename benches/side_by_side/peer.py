"""One implementation of distcc at work: its daemons and its clients, in private directories."""

import os
import re
import signal
import socket
import subprocess
import time

from .process import Failure, Meter, session

START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 5
POLL_SECONDS = 0.01
# More than the machine's share, so that nothing measured with the stub waits for a slot.
DAEMON_JOBS = 16


class Peer:
    """`label` is its column in the table."""

    def __init__(self, label, directory, workshop):
        self.label = label
        self.workshop = workshop
        self.distcc = os.path.join(directory, "distcc")
        # A fresh build has no links yet, and a daemon is known by the name it is called with.
        daemon = os.path.join(directory, "distccd")
        self.name = re.sub(r"\W", "_", label)
        self.directory = workshop.make(f"{self.name}.distcc")
        self.distccd = os.path.join(workshop.make(f"{self.name}.bin"), "distccd")
        os.symlink(daemon if os.path.exists(daemon) else self.distcc, self.distccd)
        # Debian has another program called pump.
        wrappers = [os.path.join(directory, name) for name in ("distcc-pump", "pump")]
        self.pump = os.path.join(os.path.dirname(self.distccd), "pump")
        os.symlink(next(filter(os.path.exists, wrappers), self.distcc), self.pump)
        for program in (self.distcc, self.distccd):
            if not os.access(program, os.X_OK):
                raise Failure(f"{program} is missing")

    def version(self):
        shown = subprocess.run([self.distcc, "--version"], capture_output=True, text=True, check=True)
        return shown.stdout.splitlines()[0]

    def environment(self, daemon, compilers, options="", slots=DAEMON_JOBS, **more):
        """A client's whole environment. `compilers` is the directory that comes first on its PATH."""
        return self.workshop.environment(
            compilers,
            DISTCC_DIR=self.directory,
            DISTCC_FALLBACK="0",
            DISTCC_HOSTS=f"127.0.0.1:{daemon.port}/{slots}{options}",
            **more,
        )


class Daemon:
    """A running distccd on the loopback interface, with CPU meter. Stops and cleans up at the end of `with`."""

    def __init__(self, peer, name, compilers, jobs=DAEMON_JOBS, tracer=(), **environment):
        self.peer, self.name = peer, f"{peer.name}-{name}"
        self.compilers, self.jobs, self.tracer = compilers, jobs, list(tracer)
        self.more = environment
        self.process = None

    def __enter__(self):
        workshop = self.peer.workshop
        self.meter = Meter(self.name)
        self.port = free_port()
        self.temporary = workshop.make(f"{self.name}.tmp", mode=0o1777)
        self.errors = workshop.path(f"{self.name}.log")
        # As root a daemon becomes another user, who must be able to write here, too.
        open(self.errors, "w").close()
        os.chmod(self.errors, 0o666)
        arguments = ["--no-detach", "--daemon", "--port", str(self.port), "--listen", "127.0.0.1"]
        arguments += ["--allow", "127.0.0.0/8", "--jobs", str(self.jobs), "--enable-tcp-insecure"]
        # Without the usual nice value: other work on this machine would slow the daemons, but not a local make.
        arguments += ["--nice", "0"]
        arguments += ["--log-file", self.errors, "--log-level", "notice"]
        with open(self.errors, "a") as errors:
            self.process = subprocess.Popen(
                self.tracer + [self.peer.distccd] + arguments,
                env=workshop.environment(self.compilers, TMPDIR=self.temporary, **self.more),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                preexec_fn=self.meter.enter,
            )
        self.meter.session = self.process.pid
        try:
            self.await_start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def await_start(self):
        until = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(POLL_SECONDS)
        raise Failure(f"{self.peer.distccd} did not start: {self.last_words()}")

    def last_words(self):
        with open(self.errors, errors="replace") as file:
            return (file.read().strip().splitlines() or ["it said nothing"])[-1]

    def __exit__(self, *_):
        until = time.monotonic() + STOP_SECONDS_MAX
        number = signal.SIGTERM
        while self.signal_session(number):
            number = 0 if time.monotonic() < until else signal.SIGKILL
            self.process.poll()
            time.sleep(POLL_SECONDS)
        self.process.wait()
        self.meter.remove()

    def signal_session(self, number):
        """Signals every process of the daemon's session, whatever group it has made for itself. False if none is."""
        found = [pid for pid, _ in session(self.process.pid)]
        # A tracer passes no signal on, and would let go of the daemon.
        for pid in found:
            if not self.tracer or pid != self.process.pid or number == signal.SIGKILL:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        return bool(found)


def free_port():
    """A port nobody listens on at this moment: 3.4 cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
