"""What is measured of pump mode: the include server alone, and whole jobs with the stub compiler.

Each side uses its own client, include server and daemon. The rules of alternating are those of `measures`.
"""

import time

from .include_server import IncludeServer
from .measures import CLIENTS_AT_ONCE, MS, SETTLE_SECONDS
from .peer import Daemon
from .process import Failure
from .relay import Relay
from .report import Row

HOST_OPTIONS = ",lzo,cpp"
# The times that are aimed at are those for git, of 500 files with 60 headers each: other work is not judged by them.
JUDGED_JOBS_MIN = 100
COLD_MOST, WARM_MOST = 0.4, 0.1
CLIENT_AND_SERVER_MOST, DAEMON_MOST = 1.5, 4
COLD, WARM, MANY = "first", "again", "at once"
# So many questions at least are asked when it is about warm servers: fewer are over before several clients meet.
QUESTIONS_MIN = 400


def include_server(bench):
    """Questions to a new include server, the same again, and the same by several clients at once."""
    jobs = answerable(bench)
    samples, cpu = {}, {}
    for turn in range(bench.passes):
        for peer in bench.in_turn(turn, bench.peers):
            for at in range(2):
                with IncludeServer(peer, f"include-{turn}-{at}") as server:
                    if at >= len(server.languages()):
                        continue
                    language = server.languages()[at]
                    questions = server.questions(jobs, language)
                    many = questions * -(-QUESTIONS_MIN // len(questions))
                    for what, asked, clients in ((COLD, questions, 1), (WARM, many, 1), (MANY, many, CLIENTS_AT_ONCE)):
                        before = server.meter.seconds()
                        seconds = server.ask(asked, language, clients)
                        used = server.meter.seconds() - before
                        samples.setdefault((peer, language, what), []).append(MS * seconds / len(asked))
                        cpu.setdefault((peer, language, what), []).append(MS * used / len(asked))
    rows = []
    for language in ("direct", "3.4's"):
        if (bench.ours, language, COLD) not in samples:
            continue
        for what, most in ((COLD, COLD_MOST), (WARM, WARM_MOST)):
            keys = (bench.ours, language, what), (bench.theirs, "3.4's", what)
            label = f"include server, each command {what}, {language} language"
            rows.append(Row(label, "ms/command", *[samples[key] for key in keys]))
            rows.append(Row("  CPU", "ms/command", *[cpu[key] for key in keys], most=judged(jobs, most)))
        both = [samples[bench.ours, language, what] for what in (MANY, WARM)]
        label = f"{CLIENTS_AT_ONCE} clients and one, {language} language: ours"
        rows.append(Row(label, "ms/command", *both, target=1.2))
    both = [samples[bench.theirs, "3.4's", what] for what in (MANY, WARM)]
    rows.append(Row(f"{CLIENTS_AT_ONCE} clients and one: the reference", "ms/command", *both))
    return rows


def pump_jobs(bench):
    """CPU of client, include server and daemon for a job, and the bytes that it sends. The compiler is the stub."""
    jobs = answerable(bench)
    daemons, servers, environments, samples = {}, {}, {}, []
    try:
        for peer in bench.peers:
            daemons[peer] = Daemon(peer, "pump", bench.stub).__enter__()
            servers[peer] = IncludeServer(peer, "pump").__enter__()
            environments[peer] = environment(peer, daemons[peer], servers[peer])
        for turn in range(bench.passes + 1):
            meters = {("daemon", peer): daemons[peer].meter for peer in bench.peers}
            meters.update({("include server", peer): servers[peer].meter for peer in bench.peers})
            before = {key: meter.seconds() for key, meter in meters.items()}
            spent = {("client", peer): 0.0 for peer in bench.peers}
            stub = 0.0
            for number, job in enumerate(jobs):
                for peer in bench.in_turn(turn + number, bench.peers):
                    ended = bench.compile(peer, daemons[peer], job.argv, job.directory, environments[peer])
                    spent["client", peer] += ended.cpu
                stub += bench.run_stub(job).cpu
            time.sleep(SETTLE_SECONDS)
            spent.update({key: meter.seconds() - before[key] for key, meter in meters.items()})
            spent.update({("stub", peer): stub for peer in bench.peers})
            samples.append({key: MS * value / len(jobs) for key, value in spent.items()})
        sent = {peer: bytes_sent(bench, jobs, peer, daemons[peer], servers[peer]) for peer in bench.peers}
        exact = all(one.meter.exact for one in (*daemons.values(), *servers.values()))
    finally:
        for one in (*servers.values(), *daemons.values()):
            one.__exit__()
    return rows_of(bench, jobs, samples[1:], sent, exact)  # the first pass warms up


def judged(jobs, most):
    return most if len(jobs) >= JUDGED_JOBS_MIN else None


def rows_of(bench, jobs, samples, sent, exact):
    def column(peer, *parts):
        return [sum(sample[part, peer] for part in parts) for sample in samples]

    def row(label, *parts, most=None):
        note = "" if exact else " (rough, without root)"
        columns = [column(peer, *parts) for peer in bench.peers]
        return Row(f"{label}{note}", "ms/job", *columns, most=judged(jobs, most) if exact else None)

    own = [[d - s for d, s in zip(column(peer, "daemon"), column(peer, "stub"))] for peer in bench.peers]
    return [
        row("client CPU, pump mode", "client"),
        row("include server CPU, pump mode", "include server"),
        row("  both together", "client", "include server", most=CLIENT_AND_SERVER_MOST),
        row("daemon CPU with the stub, pump mode", "daemon", most=DAEMON_MOST),
        Row("  less the stub", "ms/job", *own),
        Row("bytes sent, pump mode", "kB/job", *[[sent[peer] / 1000] for peer in bench.peers]),
    ]


def environment(peer, daemon, server):
    # With the variable for tests a client reports an include server that cannot tell, instead of preprocessing.
    return peer.environment(
        daemon, None, HOST_OPTIONS, INCLUDE_SERVER_PORT=server.socket, DISTCC_TESTING_INCLUDE_SERVER="1"
    )


def bytes_sent(bench, jobs, peer, daemon, server):
    """Bytes of a request, on average."""
    with Relay(daemon) as relay:
        for job in jobs:
            bench.compile(peer, daemon, job.argv, job.directory, environment(peer, relay, server))
        return relay.sent / len(jobs)


def answerable(bench):
    """The jobs that both include servers can do; those that only the reference refuses are said to be left out."""
    refused = {}
    for peer in bench.peers:
        with IncludeServer(peer, "answerable") as server:
            refused[peer] = server.refused(bench.jobs)
    if refused[bench.ours]:
        raise Failure(f"ours refuses {len(refused[bench.ours])} commands, such as {refused[bench.ours][0].argv}")
    if refused[bench.theirs]:
        bench.say(f"left out: {len(refused[bench.theirs])} commands that the reference's include server refuses")
    jobs = [job for job in bench.jobs if job not in refused[bench.theirs]]
    if not jobs:
        raise Failure("the reference's include server refuses every command")
    return jobs
