"""Private directories, two daemons and two include servers, which can be killed and started again.

The second daemon and the second include server are the ones that get killed; the first ones live from beginning to
end, so that what they hold can be measured over the whole time.
"""

import os
import re
import shutil
import signal
import subprocess
import time

SYSTEM_PATH = "/usr/bin:/bin"
COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "clang++", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-g++")
APPLETS = ("pump", "include_server", "lsdistcc")
# The file that daemons are started from: no pkill by name is meant for them.
SERVER = "soaked-server"
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 15
TEMPORARY_MEBIBYTES = 48
SLOTS = 6


class Failure(Exception):
    """Why there is no result, for the user."""


class Farm:
    """Everything that runs. Ends with `with`. Clients and daemons give up what is silent for `silence` seconds."""

    def __init__(self, binary, work, jobs, silence):
        self.work, self.jobs, self.silence = work, jobs, silence
        self.bin = f"{work}/bin"
        for name in ("bin", "lib/distcc", "out", "distcc", "tmp", "tmp-old", "home"):
            os.makedirs(f"{work}/{name}")
        shutil.copy(binary, f"{self.bin}/distcc")
        os.link(f"{self.bin}/distcc", f"{self.bin}/{SERVER}")
        for name in APPLETS:
            os.symlink("distcc", f"{self.bin}/{name}")
        for name in COMPILERS:
            os.symlink("../../bin/distcc", f"{work}/lib/distcc/{name}")
        self.daemons = [Daemon(self, number) for number in range(2)]
        self.include_servers = [IncludeServer(self, number) for number in range(2)]

    def __enter__(self):
        try:
            for each in self.daemons + self.include_servers:
                each.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for each in self.include_servers + self.daemons:
            each.stop()
        for daemon in self.daemons:
            daemon.unmount()

    def environment(self, old, **more):
        """A client's whole environment; `old` for that of distcc 3.4. Both share slots and memory of failures."""
        settings = dict(
            PATH=SYSTEM_PATH, LC_ALL="C", HOME=f"{self.work}/home", DISTCC_DIR=f"{self.work}/distcc",
            TMPDIR=f"{self.work}/{'tmp-old' if old else 'tmp'}", DISTCC_IO_TIMEOUT=str(self.silence),
            DISTCC_BACKOFF_PERIOD="1", DISTCC_PAUSE_TIME_MSEC="20", DISTCC_MAX_DISCREPANCY="1000000",
            DISTCC_PUMP="0",
        )
        return settings | more

    def processes(self):
        """Processes of this farm, by what their environment says: (id, words)."""
        own = f"{self.work}/".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    is_ours = own in file.read()
                if is_ours and state_of(pid) != "Z":
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        yield int(pid), file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue


class Daemon:
    """One of our daemons with its own TMPDIR, a small file system of its own where that is possible."""

    def __init__(self, farm, number):
        self.farm, self.number = farm, number
        self.temporary, self.log = f"{farm.work}/server{number}", f"{farm.work}/server{number}.log"
        self.port, self.process, self.starts = 0, None, 0
        os.mkdir(self.temporary)
        size = f"size={TEMPORARY_MEBIBYTES}m,mode=1777"
        mount = ["mount", "-t", "tmpfs", "-o", size, "soak", self.temporary]
        self.is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
        os.chmod(self.temporary, 0o1777)
        open(self.log, "w").close()

    def start(self):
        environment = dict(PATH=SYSTEM_PATH, LC_ALL="C", TMPDIR=self.temporary)
        environment.update(DISTCC_IO_TIMEOUT=str(self.farm.silence), SOAK=f"{self.farm.work}/")
        words = ["--no-detach", "--daemon", "--port", str(self.port), "--listen", "127.0.0.1"]
        words += ["--allow", "127.0.0.0/8", "--log-stderr", "--log-level", "info", "--jobs", str(self.farm.jobs)]
        said = os.path.getsize(self.log)
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                ["distccd", *words], executable=f"{self.farm.bin}/{SERVER}", env=environment, cwd="/",
                stdin=subprocess.DEVNULL, stderr=log,
            )
        self.starts += 1
        until = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < until and self.process.poll() is None:
            with open(self.log, errors="replace") as log:
                log.seek(said)
                text = log.read()
            if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", text):
                self.port = int(found[1])
                return
            time.sleep(0.01)
        raise Failure(f"a daemon did not start: {text}")

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if not self.is_alive():
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"daemon {self.number} does not stop") from None

    def unmount(self):
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", self.temporary], capture_output=True)

    def files(self):
        """What is in its TMPDIR."""
        return [os.path.join(path, name) for path, _, names in os.walk(self.temporary) for name in [*names, ""]][1:]

    def compiled(self, but):
        """How many jobs its compilers have ended, with success and without, sources of the name `but` apart."""
        with open(self.log, errors="replace") as log:
            lines = [line for line in log if " COMPILE_" in line and but not in line]
        good = sum(" COMPILE_OK " in line for line in lines)
        return good, len(lines) - good


class IncludeServer:
    """An include server, started as `pump --startup` does, and the variables that lead clients to it."""

    def __init__(self, farm, number):
        self.farm, self.number, self.variables, self.pid = farm, number, {}, None

    def start(self):
        environment = self.farm.environment(False, DISTCC_HOSTS="127.0.0.1:1,lzo,cpp")
        words = [f"{self.farm.bin}/pump", "--startup"]
        started = subprocess.run(
            words, env=environment, capture_output=True, text=True, cwd=f"{self.farm.work}/src", timeout=START_SECONDS_MAX
        )
        found = dict(re.findall(r"(?m)^export (\w+)='?(.*?)'?;?$", started.stdout))
        if started.returncode or "INCLUDE_SERVER_PID" not in found:
            raise Failure(f"pump --startup: {started.stdout}{started.stderr}")
        self.pid = int(found["INCLUDE_SERVER_PID"])
        self.variables = {name: value for name, value in found.items() if name.startswith("INCLUDE_SERVER")}

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def is_alive(self):
        return self.pid is not None and state_of(self.pid) not in ("", "Z")

    def stop(self):
        if self.pid is None:
            return
        environment = dict(self.farm.environment(False), **self.variables)
        subprocess.run([f"{self.farm.bin}/pump", "--shutdown"], env=environment, capture_output=True)
        self.pid = None


def state_of(pid):
    """The letter of a process's state; none if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][:1]
    except OSError:
        return ""


def descendants(pid):
    """All below a process."""
    found, todo = [], [pid]
    while todo:
        try:
            each = todo.pop()
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    children = [int(word) for word in file.read().split()]
                found += children
                todo += children
        except OSError:
            continue
    return found
