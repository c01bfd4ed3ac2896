"""A running include server of one implementation, started and ended by its own pump, with CPU meter; and questions.

Knows both languages an include server may speak (docs/protocol.md, "Asking an include server").
"""

import os
import socket
import struct
import subprocess
import time

from .process import Failure, Meter

ANSWER_SECONDS_MAX = 60
CHUNK = 1 << 20

# The include server of distcc 3.4 cannot work with Python 3.10 or later: functions of its C extension use a calling
# convention that is gone since, so that it gives up at the first question. This module gives the three of them other
# bodies, from outside, and changes nothing else; the compressor is the extension's own. Python loads it by its name.
REPAIR = '''
import ctypes
import os

import distcc_pump_c_extensions as extensions

library = ctypes.CDLL(extensions.__file__)
work = ctypes.create_string_buffer(1 << 17)


def compress(text):
    data = text.encode("utf-8") if isinstance(text, str) else text
    out = ctypes.create_string_buffer(len(data) + len(data) // 16 + 67)
    size = ctypes.c_size_t(len(out))
    library.lzo1x_1_compress(data, ctypes.c_size_t(len(data)), out, ctypes.byref(size), work)
    return out.raw[: size.value]


extensions.CompressLzo1xAlloc = compress
extensions.OsPathExists = os.path.exists
extensions.OsPathIsFile = os.path.isfile
'''


class IncludeServer:
    """Starts at the beginning of `with`, and is gone at its end."""

    def __init__(self, peer, name):
        self.peer, self.name = peer, f"{peer.name}-{name}"
        self.variables = {}

    def __enter__(self):
        workshop = self.peer.workshop
        repair = workshop.make("repair")
        with open(f"{repair}/sitecustomize.py", "w") as file:
            file.write(f"try:\n    import distcc_pump_c_extensions\nexcept ImportError:\n    pass\nelse:\n"
                       + "".join(f"    {line}\n" if line else "\n" for line in REPAIR.splitlines()))
        self.meter = Meter(self.name)
        self.environment = workshop.environment(
            DISTCC_LOCATION=os.path.dirname(self.peer.distcc),
            DISTCC_HOSTS="127.0.0.1:1,lzo,cpp",
            DISTCC_DIR=self.peer.directory,
            PYTHONPATH=repair,
        )
        started = self.pump("--startup", preexec_fn=self.meter.enter, start_new_session=True)
        for line in started.stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.variables[name] = value.strip("'")
        self.socket = self.variables.get("INCLUDE_SERVER_PORT")
        if started.returncode != 0 or not self.socket:
            self.meter.remove()
            said = started.stderr.strip() or "no variables"
            raise Failure(f"{os.path.realpath(self.peer.pump)} --startup: {said} (Debian's is in the package distcc-pump)")
        self.meter.session = os.getsid(int(self.variables["INCLUDE_SERVER_PID"]))
        return self

    def __exit__(self, *_):
        self.environment.update(self.variables)
        self.pump("--shutdown")
        self.meter.remove()

    def pump(self, word, **more):
        return subprocess.run(
            [self.peer.pump, word],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **more,
        )

    def languages(self):
        """The direct one is between two of ours."""
        return ("direct", "3.4's") if os.path.exists(self.socket + ".direct") else ("3.4's",)

    def questions(self, jobs, language):
        """One message for each job, made beforehand: only asking is measured."""
        if language == "direct":
            return [direct_question(self.peer.workshop, job) for job in jobs]
        return [old_question(job) for job in jobs]

    def ask(self, questions, language, at_once=1):
        """Seconds of wall time until all are answered, by so many processes; none may be refused."""
        path = self.socket + (".direct" if language == "direct" else "")
        ready_read, ready_write = os.pipe()
        go_read, go_write = os.pipe()
        children = []
        for first in range(at_once):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    os.close(go_write)
                    os.write(ready_write, b"x")
                    os.read(go_read, 1)
                    status = min(sum(not answered(path, question) for question in questions[first::at_once]), 200)
                finally:
                    os._exit(status)
            children.append(pid)
        for _ in children:
            os.read(ready_read, 1)
        began = time.perf_counter()
        os.close(go_write)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        seconds = time.perf_counter() - began
        for descriptor in (ready_read, ready_write, go_read):
            os.close(descriptor)
        if any(statuses):
            raise Failure(f"{self.peer.label}: the include server refused {sum(statuses)} of {len(questions)} commands")
        return seconds

    def refused(self, jobs):
        """The jobs that it cannot do, in 3.4's language."""
        return [job for job in jobs if not answered(self.socket, old_question(job))]


def token(name, value):
    return b"%s%08x" % (name, value)


def text(name, value):
    return token(name, len(value)) + value


def old_question(job):
    words = [os.fsencode(word) for word in job.argv]
    return text(b"CDIR", os.fsencode(job.directory)) + token(b"ARGC", len(words)) + b"".join(
        text(b"ARGV", word) for word in words
    )


def direct_question(workshop, job):
    search_path = workshop.environment()["PATH"]
    records = [("D", job.directory), ("C", workshop.find(job.argv[0])), ("P", search_path)]
    records += [("A", word) for word in job.argv]
    return text(b"QUES", b"".join(os.fsencode(kind + value) + b"\0" for kind, value in records))


def answered(path, question):
    """Asks, and reads the whole answer. False if there is none but that it cannot be told."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_SECONDS_MAX)
        client.connect(path)
        client.sendall(question)
        answer = client.recv(CHUNK)
        if question.startswith(b"QUES"):
            want = 12 + int(answer[4:12], 16)
            have = len(answer)
            while have < want:
                piece = client.recv(CHUNK)
                if not piece:
                    return False
                have += len(piece)
            return answer.startswith(b"ANSW") and struct.unpack_from("<I", answer, 12)[0] > 0
        while client.recv(CHUNK):
            pass
        return answer.startswith(b"ARGC") and int(answer[4:12], 16) > 0
