"""What there is to compile: real compile commands, recorded while make builds the sample or a Debian source package.

Knows make and apt; nothing of distcc.
"""

import glob
import os
import re
import shutil
import signal
import statistics
import subprocess
import time
from collections import namedtuple

from .process import Failure, run
from .workshop import read_records

SOURCE = re.compile(r".*\.(c|cc|cpp|cxx|C)")
POLL_SECONDS = 0.1
# The object that stubs answer with is the median of so many real ones.
OBJECTS_LOOKED_AT = 15

# One compilation. `argv` writes to `output` in the private directory; `preprocessed` is the same source's text
# after preprocessing, in a file, and `argv_preprocessed` the command that compiles that.
Job = namedtuple("Job", "directory argv output preprocessed argv_preprocessed")


def sample_tree(workshop, repository):
    """A copy of the bundled sample program."""
    tree = workshop.path("source")
    shutil.copytree(os.path.join(repository, "tests/sample"), tree, ignore=shutil.ignore_patterns("build"))
    return tree


def package_tree(workshop, package):
    """The upstream source of a Debian package. The machine's own package lists and packages stay as they are."""
    for tool in ("apt-get", "dpkg-source"):
        if not shutil.which(tool):
            raise Failure(f"--package needs {tool} (Debian packages apt and dpkg-dev)")
    apt, download = workshop.make("apt"), workshop.make("download")
    for directory in ("parts", "lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(apt, directory))
    with open(f"{apt}/sources.list", "w") as merged:
        for name in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")]:
            if os.path.exists(name):
                with open(name) as file:
                    merged.write(re.sub(r"(?m)^deb (.*)", r"deb \1\ndeb-src \1", file.read()) + "\n")
    for name in glob.glob("/etc/apt/sources.list.d/*.sources"):
        with open(name) as file, open(f"{apt}/parts/{os.path.basename(name)}", "w") as copy:
            copy.write(re.sub(r"(?m)^Types:.*", "Types: deb deb-src", file.read()))
    with open(f"{apt}/options", "w") as options:
        options.write(
            f'Dir::Etc::SourceList "{apt}/sources.list";\nDir::Etc::SourceParts "{apt}/parts";\n'
            f'Dir::State::Lists "{apt}/lists";\nDir::Cache "{apt}/cache";\nAPT::Sandbox::User "root";\n'
        )
    environment = dict(os.environ, APT_CONFIG=f"{apt}/options", LC_ALL="C")

    def quietly(what, *command):
        done = subprocess.run(command, cwd=download, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"{what}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")

    quietly("apt-get update", "apt-get", "update", "-qq")
    quietly(f"apt-get source {package}", "apt-get", "source", "-qq", "--download-only", package)
    tree = workshop.path("source")
    # Without the distribution's patches, which may replace the build by one that only debian/rules can start.
    description = glob.glob(f"{download}/*.dsc")[0]
    quietly(f"unpack {package}", "dpkg-source", "--no-check", "--skip-patches", "-x", description, tree)
    if os.access(f"{tree}/configure", os.X_OK):
        done = subprocess.run(["./configure"], cwd=tree, env=workshop.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
            raise Failure(f"configure: {last} (apt-get build-dep {package} installs what it needs)")
    return tree


def record(workshop, tree, limit):
    """Runs make until enough compile commands are recorded, or until it ends."""
    compilers, records = workshop.add_recorder("make", more="-O0 -g0")
    with open(workshop.path("make.log"), "w") as log:
        make = subprocess.Popen(
            ["make", "--keep-going", f"-j{os.cpu_count()}"],
            cwd=tree,
            env=workshop.environment(compilers),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while make.poll() is None and (not limit or len(os.listdir(records)) < 1.3 * limit):
                time.sleep(POLL_SECONDS)
        finally:
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGKILL)
                make.wait()
    commands = [command for command in read_records(records) if is_compilation(command[1])]
    if not commands:
        with open(workshop.path("make.log")) as log:
            raise Failure("make compiled nothing: " + (log.read().strip().splitlines() or ["no output"])[-1])
    return commands[:limit]


def is_compilation(argv):
    sources = [word for word in argv[1:] if SOURCE.fullmatch(word)]
    return "-c" in argv and "-o" in argv and len(sources) == 1


def jobs(workshop, commands):
    """Makes each recorded command one that writes into the private directory, and preprocesses its source."""
    objects, texts = workshop.make("objects"), workshop.make("preprocessed")
    made = []
    for number, (directory, argv) in enumerate(commands):
        source = next(word for word in argv[1:] if SOURCE.fullmatch(word))
        output = os.path.join(objects, f"{number}.o")
        argv = with_output(argv, output)
        text = os.path.join(texts, f"{number}{'.i' if source.endswith('.c') else '.ii'}")
        command = ["-E" if word == "-c" else word for word in without_output(argv)]
        ended = run(workshop.find(argv[0]), command, workshop.environment(), directory=directory, stdout=text)
        if ended.status == 0:
            plain = without_preprocessing(argv, source, text)
            made.append(Job(directory, argv, output, text, plain))
    if not made:
        raise Failure("no recorded command can be preprocessed")
    return made


def with_output(argv, output):
    at = argv.index("-o")
    return argv[: at + 1] + [output] + argv[at + 2 :]


def without_output(argv):
    at = argv.index("-o")
    return argv[:at] + argv[at + 2 :]


def without_preprocessing(argv, source, text):
    """The command for text that is preprocessed, as short as the one that a client sends."""
    words, out = iter(argv), []
    for word in words:
        if word in ("-I", "-D", "-U", "-isystem", "-iquote", "-include", "-MF", "-MT", "-MQ"):
            next(words)
        elif not re.match(r"-[IDU].|-M(M?D|P)$|-isystem.|-iquote.", word):
            out.append(text if word == source else word)
    return out


def canned_object(workshop, jobs):
    """A real object of median size, compiled from the work itself."""
    canned, sizes = workshop.path("canned.o"), {}
    for job in jobs[:: max(1, len(jobs) // OBJECTS_LOOKED_AT)]:
        run(workshop.find(job.argv[0]), job.argv, workshop.environment(), directory=job.directory)
        sizes[os.path.getsize(job.output)] = job.output
    shutil.copy(sizes[statistics.median_low(sizes)], canned)
    os.chmod(canned, 0o644)
    return canned


def small_files(workshop, count):
    """A directory with so many small C files and a makefile: a build in which every delay shows."""
    tree = workshop.make("small")
    for number in range(count):
        functions = "".join(
            f"int f{number}_{i}(const char *s)\n{{\n    int n = {i};\n"
            f"    while (*s)\n        n = n * 31 + *s++;\n    return printf(\"%d\\n\", n + (int)strlen(s));\n}}\n"
            for i in range(12)
        )
        with open(f"{tree}/{number}.c", "w") as file:
            file.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n" + functions)
    names = " ".join(f"{number}.o" for number in range(count))
    with open(f"{tree}/Makefile", "w") as file:
        file.write(f"all: {names}\n%.o: %.c\n\t$(LAUNCHER) cc -O2 -c $< -o $@\nclean:\n\trm -f {names}\n")
    return tree
