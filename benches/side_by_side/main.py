"""The command line of benches/compare."""

import argparse
import glob
import json
import os
import signal
import sys

from . import crowd, measures, pump_mode
from .measures import Bench
from .peer import Peer
from .process import Failure
from .report import table
from .system_calls import listing, system_calls
from .work import canned_object, jobs, package_tree, record, sample_tree
from .workshop import Workshop

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PASSES = 7
PASSES_QUICK = 3
JOBS_QUICK = 12
PARTS = {
    "start": measures.process_start,
    "client": measures.client_cpu,
    "daemon": measures.daemon_cpu,
    "slots": measures.two_slots,
    "speed": measures.speed,
    "include": pump_mode.include_server,
    "pump": pump_mode.pump_jobs,
    "crowd": crowd.crowded,
}
CALLS = "calls"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def options(argv):
    parser = argparse.ArgumentParser(
        prog="benches/compare",
        description="Measures this distcc beside another one on the same work, in turn, and prints medians, "
        "ranges and ratios. Everything happens on the loopback interface and in a private directory that is "
        "removed. Exit status: 0 targets met, 1 one is missed, 2 no result.",
    )
    newest = max(glob.glob(f"{REPOSITORY}/target/*/release/distcc"), key=os.path.getmtime, default=None)
    default = os.path.dirname(newest) if newest else f"{REPOSITORY}/target/release"
    parser.add_argument("--ours", metavar="DIR", default=default, help="where our distcc is (default: %(default)s)")
    parser.add_argument("--theirs", metavar="DIR", default="/usr/bin", help="where the other is (default: %(default)s)")
    parser.add_argument("--package", metavar="NAME", help="compile this Debian source package instead of tests/sample")
    parser.add_argument("--limit", metavar="N", type=int, help="use so many compile commands at most")
    parser.add_argument("--runs", metavar="N", type=int, help=f"passes (default: {PASSES})")
    parser.add_argument("--quick", action="store_true", help=f"{PASSES_QUICK} passes over {JOBS_QUICK} commands")
    parser.add_argument(
        "--only", metavar="NAMES", default=",".join([*PARTS, CALLS]), help="some of %(default)s, separated by commas"
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file, too")
    chosen = parser.parse_args(argv)
    chosen.runs = chosen.runs or (PASSES_QUICK if chosen.quick else PASSES)
    chosen.limit = chosen.limit or (JOBS_QUICK if chosen.quick else None)
    chosen.only = chosen.only.split(",")
    unknown = set(chosen.only) - {*PARTS, CALLS}
    if unknown or chosen.runs < 1:
        parser.error(f"--only does not know {', '.join(unknown)}" if unknown else "--runs must be at least 1")
    return chosen


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure(chosen, workshop):
    theirs_missing = "Debian's is in the packages distcc and distcc-pump"
    ours = Peer("ours", chosen.ours, workshop)
    try:
        theirs = Peer("reference", chosen.theirs, workshop)
    except Failure as failure:
        raise Failure(f"{failure}; {theirs_missing}") from None
    say(f"preparing: recording the compile commands of {chosen.package or 'tests/sample'}")
    tree = package_tree(workshop, chosen.package) if chosen.package else sample_tree(workshop, REPOSITORY)
    work = jobs(workshop, record(workshop, tree, chosen.limit))
    canned = canned_object(workshop, work)
    bench = Bench(workshop, ours, theirs, work, canned, chosen.runs, say)
    about = dict(
        ours=ours.version(),
        reference=theirs.version(),
        work=chosen.package or "tests/sample",
        commands=len(work),
        passes=chosen.runs,
        preprocessed_bytes_mean=sum(os.path.getsize(job.preprocessed) for job in work) // len(work),
        object_bytes=os.path.getsize(canned),
        processors=os.cpu_count(),
    )
    rows = []
    for name, part in PARTS.items():
        if name in chosen.only:
            say(f"measuring: {name}")
            rows += part(bench)
    calls = system_calls(bench) if CALLS in chosen.only else None
    return about, rows, calls


def stop(*_):
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(2)


def main():
    chosen = options(sys.argv[1:])
    chosen.ours, chosen.theirs = os.path.abspath(chosen.ours), os.path.abspath(chosen.theirs)
    target = os.path.abspath(chosen.json) if chosen.json else None
    # An end by signal cleans up, too, and a second signal must not interrupt that.
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    try:
        with Workshop() as workshop:
            about, rows, calls = measure(chosen, workshop)
    except Failure as failure:
        say(f"compare: {failure}")
        return 2
    print(f"ours: {about['ours']}; reference: {about['reference']}")
    print(
        f"{about['commands']} commands of {about['work']}, {about['passes']} passes; preprocessed text "
        f"{about['preprocessed_bytes_mean']} bytes on average, object {about['object_bytes']} bytes; "
        f"{about['processors']} processors, load {os.getloadavg()[0]:.1f}"
    )
    print("Figures are medians of the passes (lowest-highest); ratios are taken pass by pass.\n")
    print(table(rows))
    if calls is not None:
        print("\n" + listing(calls))
    if target:
        with open(target, "w") as file:
            json.dump(dict(about, rows=[row.as_json() for row in rows], calls=calls), file, indent=1)
    return int(any(row.missed() for row in rows))
