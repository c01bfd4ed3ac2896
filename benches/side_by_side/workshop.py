"""The private directory everything happens in, and the compilers in it: stubs and recorders.

Knows compilers by name; nothing of distcc.
"""

import os
import re
import shutil
import subprocess
import tempfile

from .process import Failure

COMPILER = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|clang|clang\+\+)(-[0-9.]+)?")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

# Stands for the compiler of a server: writes a canned object where it is asked to, and an empty list of dependencies,
# and that is all. The object is a part of the program: a server may run it where no other file of this machine is.
STUB = r"""
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

extern const char object[], object_end[];
__asm__(".section .rodata\nobject: .incbin \"" OBJECT "\"\nobject_end:\n.text");

static int write_file(const char *path, long length)
{
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    return out < 0 || write(out, object, length) != length;
}

int main(int argc, char **argv)
{
    /* Of several the last counts, as with a compiler. */
    const char *output = NULL, *dependencies = NULL;
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "-o") == 0)
            output = argv[i + 1];
        if (strcmp(argv[i], "-MF") == 0)
            dependencies = argv[i + 1];
    }
    return (output && write_file(output, object_end - object)) || (dependencies && write_file(dependencies, 0));
}
"""

# Stands for every compiler while commands are recorded: runs the real one, and keeps the words of what succeeded,
# the working directory first. MORE ends the command: what is recorded need not be optimised.
RECORDER = """#!/bin/sh
/usr/bin/${0##*/} "$@" MORE || exit
printf '%s\\0' "$PWD" "${0##*/}" "$@" >"RECORDS/$$.new"
mv "RECORDS/$$.new" "RECORDS/$$"
"""


class Workshop:
    """A private directory, gone at the end of `with`."""

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix="distcc-compare.")
        # A daemon that is not root any more must find the stub.
        os.chmod(self.root, 0o755)
        self.make("home")
        self.temporary = self.make("tmp")
        self.compilers = [name for name in os.listdir("/usr/bin") if COMPILER.fullmatch(name)]
        return self

    def __exit__(self, *_):
        os.chdir("/")
        shutil.rmtree(self.root)

    def path(self, name):
        return os.path.join(self.root, name)

    def make(self, name, mode=0o755):
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def environment(self, first_on_path=None, **more):
        """A scrubbed environment. None in `more` is left out."""
        path = f"{first_on_path}:{SYSTEM_PATH}" if first_on_path else SYSTEM_PATH
        own = dict(PATH=path, HOME=self.path("home"), LC_ALL="C", TMPDIR=self.temporary)
        return {**own, **{name: value for name, value in more.items() if value is not None}}

    def find(self, compiler):
        """The file that a compiler's name stands for on the plain PATH."""
        found = shutil.which(compiler, path=SYSTEM_PATH)
        if not found:
            raise Failure(f"{compiler} is not on {SYSTEM_PATH}")
        return found

    def add_stub(self, canned):
        """A directory of stubs for every compiler; each answers with the object in the file `canned`."""
        # In a place of its own: a server takes the directory above a compiler's for what belongs to the compiler.
        directory = self.make("stub/bin")
        source, program = self.path("stub.c"), os.path.join(directory, "stub")
        with open(source, "w") as file:
            file.write(STUB)
        command = ["cc", "-O2", f'-DOBJECT="{canned}"', source, "-o", program]
        # A static stub costs least, and what it costs is in every figure of the daemon.
        if subprocess.run(command + ["-static"], stderr=subprocess.DEVNULL).returncode != 0:
            subprocess.run(command, check=True)
        for name in self.compilers:
            os.link(program, os.path.join(directory, name))
        return directory

    def add_recorder(self, name, more=""):
        """A directory of recorders for every compiler, and the directory where the records will be."""
        directory, records = self.make(name), self.make(f"{name}.records")
        for compiler in self.compilers:
            path = os.path.join(directory, compiler)
            with open(path, "w") as file:
                file.write(RECORDER.replace("MORE", more).replace("RECORDS", records))
            os.chmod(path, 0o755)
        return directory, records


def read_records(records):
    """What recorders have kept: (working directory, argv) in the order of completion."""
    paths = [os.path.join(records, name) for name in os.listdir(records) if not name.endswith(".new")]
    commands = []
    for path in sorted(paths, key=lambda path: os.stat(path).st_mtime_ns):
        with open(path, "rb") as file:
            directory, *argv = os.fsdecode(file.read()).split("\0")[:-1]
        commands.append((directory, argv))
    return commands
