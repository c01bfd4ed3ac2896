"""What there is to compile: many small sources, some that warn, some that fail, a few that are large; and what a local
compiler makes of each.
"""

import os
import random
import shutil
import subprocess
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

from .farm import SYSTEM_PATH, Failure

# `words` without output; `source` relative to the directory of sources. `weight` is how often it is drawn.
Command = namedtuple("Command", "number words has_dependencies has_debug weight")
# What a compiler left and said. `objects` holds every right one.
Expected = namedtuple("Expected", "status stdout stderr objects dependencies")
DEPENDENCY_TARGET = "the/object"
# How long a daemon that nothing befalls may compile, on a machine that has much else to do, in seconds.
CALM_SILENCE = "60"

C_SOURCE = """#include <stddef.h>
#include "common.h"
#include "{header}"
struct node{n} {{ struct node{n} *next; int value; }};
static int weigh(const struct node{n} *at)
{{
    int sum = {n};
    for (; at; at = at->next)
        sum = STEP(sum, at->value);
    return sum;
}}
int f{n}(const struct node{n} *list, const char *text)
{{
    size_t length = 0;
    while (text[length])
        length++;
    return weigh(list) + (int)length * SCALE_{header_name} + __LINE__;
}}
const char *where{n}(void) {{ return __FILE__ "{n}"; }}
"""
CXX_SOURCE = """#include <stddef.h>
#include "common.h"
template <typename T, size_t N> struct Ring {{
    T items[N]; size_t at = 0;
    void push(T item) {{ items[at++ % N] = item; }}
    T sum() const {{ T all{{}}; for (const T &item : items) all += item; return all; }}
}};
namespace part{n} {{
class Shape {{ public: virtual ~Shape() = default; virtual double area() const = 0; }};
class Box : public Shape {{ double w, h; public: Box(double a, double b) : w(a), h(b) {{}}
    double area() const override {{ return w * h * {n}; }} }};
}}
double g{n}(int count)
{{
    Ring<double, {n} + 2> ring{{}};
    for (int i = 0; i < count; i++) ring.push(part{n}::Box(i, STEP(i, {n})).area());
    return ring.sum();
}}
"""
WARNINGS = [
    "#include \"common.h\"\nint w{n}(int a) {{ int unused = {n}; return STEP(a, 1); }}\n",
    "#include <string.h>\nint w{n}(unsigned a, int b) {{ char t[4]; memset(t, b, 4); return a < b ? t[{k}] : 1; }}\n",
]
ERRORS = [
    "#include \"common.h\"\nint e{n}(void) {{ return undeclared_{n}; }}\n",
    "#include \"there_is_no_such_header_{n}.h\"\nint e{n};\n",
    "int e{n}(void) {{ return 1 }}\n",
    "#include \"common.h\"\nint e{n}(struct nothing *it) {{ return it->field; }}\n",
]


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def sources(directory):
    """Writes all sources. Returns (name, kind) of each."""
    os.makedirs(f"{directory}/inc")
    write(f"{directory}/inc/common.h", "#ifndef COMMON_H\n#define COMMON_H\n#include \"deep.h\"\n"
          "#define STEP(a, b) (((a) << 1) ^ DEEP(b))\n#endif\n")
    write(f"{directory}/inc/deep.h", "#define DEEP(x) ((x) + 3)\ntypedef struct deep deep_t;\n")
    for name in ("one", "two", "three"):
        fields = "".join(f"extern int {name}_{i}(int, const char *, deep_t *);\n" for i in range(80))
        write(f"{directory}/inc/{name}.h", f"#pragma once\n#define SCALE_{name} {len(name)}\n{fields}")
    made = []

    def add(name, kind, text):
        write(f"{directory}/{name}", text)
        made.append((name, kind))

    for n in range(24):
        header = ("one", "two", "three")[n % 3]
        add(f"c{n}.c", "small", C_SOURCE.format(n=n, header=f"{header}.h", header_name=header))
    for n in range(12):
        add(f"x{n}.cpp", "small", CXX_SOURCE.format(n=n))
    for n in range(4):
        add(f"warn{n}.c", "warning", WARNINGS[n % 2].format(n=n, k=n + 1))
        add(f"error{n}.c", "error", ERRORS[n].format(n=n))
    add("error9.cpp", "error", "#include \"common.h\"\nint e() { return STEP(1, nothing); }\n")
    body = "".join(f"int big_{i}(int a, int b) {{ return STEP(a, b) * {i} + (a ^ b) / {i + 1}; }}\n" for i in range(1500))
    add("large0.c", "large", "#include \"common.h\"\n" + body)
    body = "\n".join(f"/* {'padding ' * 12} {i} */ extern int d{i}[{i + 1}];" for i in range(12000))
    add("large1.c", "large", "#include \"common.h\"\n" + body + "\nint last(void) { return d7[3] + d11999[5]; }\n")
    add("large2.cpp", "large", "#include <vector>\n#include <string>\n#include \"common.h\"\n"
        "std::string l(const std::vector<int> &v) { std::string s; for (int i : v) s += char(STEP(i, 1)); return s; }\n")
    return made


def sample(directory, repository):
    """The C sources of the bundled sample program that need nothing generated."""
    shutil.copytree(f"{repository}/tests/sample", f"{directory}/sample", ignore=shutil.ignore_patterns("build"))
    found = []
    for path, _, names in os.walk(f"{directory}/sample/src"):
        for name in sorted(names):
            full = os.path.join(path, name)
            with open(full) as file:
                text = file.read()
            if name.endswith(".c") and "tables.h" not in text:
                found.append((os.path.relpath(full, directory), "sample"))
    return sorted(found)


WEIGHTS = {"small": 20, "warning": 12, "error": 6, "sample": 3, "large": 2}
VARIANTS = [
    ["-O0"], ["-O1", "-Wall", "-Wextra"], ["-O2", "-fPIC", "-Wall"], ["-O0", "-g", "-Wall"], ["-O1", "-g", "-DNDEBUG"],
]


def commands(directory, repository, seed, most):
    """All distinct commands, or a part of them."""
    rng, made = random.Random(f"{seed}/commands"), []
    for name, kind in sources(directory) + sample(directory, repository):
        compilers = ("g++", "clang++") if name.endswith(".cpp") else ("gcc", "clang")
        count = 2 if kind == "small" else 1
        for compiler in compilers:
            for variant in rng.sample(VARIANTS, count):
                words = [compiler, *variant, "-Iinc"]
                if kind == "warning":
                    words += ["-Wall", "-Wextra"]
                if kind == "sample":
                    words += ["-Isample/include", "-DSATCHEL_VERSION=\"1\"", "-DSATCHEL_SEED=5u"]
                has_dependencies = rng.random() < 0.4
                if has_dependencies:
                    words += [rng.choice(("-MD", "-MMD")), "-MT", DEPENDENCY_TARGET]
                words += ["-c", name]
                weight = WEIGHTS[kind] / count
                made.append((words, has_dependencies, "-g" in variant, weight))
    chosen = rng.sample(made, min(most, len(made)))
    return [Command(number, *rest) for number, rest in enumerate(chosen)]


def with_outputs(command, output):
    """The whole command, whose results are to be OUTPUT.o and OUTPUT.d."""
    more = ["-MF", f"{output}.d"] if command.has_dependencies else []
    return [*command.words, *more, "-o", f"{output}.o"]


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def compile_here(command, directory, output):
    """What this machine's compiler makes of it."""
    done = subprocess.run(
        with_outputs(command, output), cwd=directory, env=dict(PATH=SYSTEM_PATH, LC_ALL="C"),
        stdin=subprocess.DEVNULL, capture_output=True,
    )
    made = read(f"{output}.o")
    dependencies = read(f"{output}.d") if done.returncode == 0 else None
    return Expected(done.returncode, done.stdout, done.stderr, {made}, dependencies)


def expectations(made, farm, clients):
    """A list of what each command must give."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda command: expectation(command, farm, clients), made))


def expectation(command, farm, clients):
    """What a local compiler gives.

    With -g, gcc and clang note columns of preprocessed text, which are not those of the source, and clients of 3.4 let
    clang note the server's directory: there, what comes through each daemon in plain mode while nothing is broken is
    right, too, if it is the same without the debugger's sections.
    """
    directory, output = f"{farm.work}/src", f"{farm.work}/out/reference{command.number}"
    here = compile_here(command, directory, output)
    if (here.status == 0) != (here.objects != {None}):
        raise Failure(f"{' '.join(command.words)}: {here.stderr.decode()}")
    if command.has_debug and here.status == 0:
        local = stripped(output)
        for client in clients:
            for hosts in client.calm_hosts:
                done = subprocess.run(
                    [client.program, *with_outputs(command, output)], cwd=directory, stdin=subprocess.DEVNULL,
                    capture_output=True, env=client.environment(hosts, DISTCC_FALLBACK="0", DISTCC_IO_TIMEOUT=CALM_SILENCE),
                )
                if done.returncode or stripped(output) != local:
                    text = done.stderr.decode(errors="replace")
                    raise Failure(f"{client.name}, while nothing is broken: {' '.join(command.words)}: {text}")
                here.objects.add(read(f"{output}.o"))
    for suffix in (".o", ".d", ".stripped"):
        if os.path.exists(output + suffix):
            os.unlink(output + suffix)
    return here


def stripped(output):
    """An object without what is for debuggers."""
    subprocess.run(["objcopy", "--strip-debug", f"{output}.o", f"{output}.stripped"], check=True)
    return read(f"{output}.stripped")
