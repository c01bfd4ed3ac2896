"""Clients that are none: garbage, silence, trickles, bombs, requests broken off, replies nobody reads. In a process of its
own; each comes from another loopback address.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import random
import signal
from collections import Counter

AT_ONCE = 24
IDLE_SECONDS_MAX = 6
TRICKLE_SECONDS = 0.25
ADDRESSES = range(2, 250)
# How often each, beside the others. A bomb costs a daemon more than all the others together.
KINDS = {
    "garbage": 6, "idle": 6, "trickle": 6, "broken off": 6, "bomb": 1, "reads nothing": 6, "half closed": 6, "hurried": 6,
}
SOURCE = b"hostile.c"
BOMB_BYTES = 5 << 20


def packet(token, number, body=b""):
    return token + b"%08x" % number + body


def words(*argv):
    return packet(b"ARGC", len(argv)) + b"".join(packet(b"ARGV", len(word), word) for word in argv)


def request(rng):
    source = b"int f%d(int a) { return a * %d; }\n" % (rng.randrange(99), rng.randrange(99))
    return packet(b"DIST", 1) + words(b"gcc", b"-c", SOURCE, b"-o", b"hostile.o") + packet(b"DOTI", len(source), source)


def bomb():
    """A compressed source that unpacks to more than a gigabyte."""
    stream = b"\x02AAAAA\x20" + b"\0" * BOMB_BYTES + b"\xb6\x10\x00\x11\x00\x00"
    return packet(b"DIST", 2) + words(b"gcc", b"-c", SOURCE, b"-o", b"hostile.o") + packet(b"DOTI", len(stream), stream)


async def misbehave(kind, rng, reader, writer):
    whole = request(rng)
    if kind == "garbage":
        writer.write(rng.randbytes(rng.choice((1, 11, 12, 100, 100_000))))
    elif kind == "idle":
        writer.write(whole[: rng.choice((0, 1, 12, 30, len(whole) - 1))])
        await asyncio.sleep(rng.uniform(0, IDLE_SECONDS_MAX))
    elif kind == "trickle":
        for at in range(rng.randrange(24)):
            writer.write(whole[at : at + 1])
            await asyncio.sleep(TRICKLE_SECONDS)
    elif kind == "broken off":
        writer.write(whole[: rng.randrange(len(whole))])
    elif kind == "bomb":
        writer.write(bomb())
    elif kind == "reads nothing":
        writer.write(whole)
        await asyncio.sleep(rng.uniform(0, IDLE_SECONDS_MAX))
    elif kind == "half closed":
        writer.write(whole)
        writer.write_eof()
    else:
        writer.write(whole + rng.randbytes(200_000))
    if kind not in ("reads nothing", "broken off"):
        await asyncio.wait_for(reader.read(1 << 16), IDLE_SECONDS_MAX)


async def visitor(ports, seed, counts, pause):
    rng = random.Random(seed)
    while True:
        kind, writer = rng.choices(tuple(KINDS), KINDS.values())[0], None
        address = f"127.0.0.{rng.choice(ADDRESSES)}"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", rng.choice(ports), local_addr=(address, 0))
            counts[kind] += 1
            await misbehave(kind, rng, reader, writer)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            if writer:
                writer.transport.abort()
        await asyncio.sleep(rng.uniform(0, pause))


async def visit(ports, seed, counts, pause, stopping):
    tasks = [asyncio.create_task(visitor(ports, f"{seed}/{n}", counts, pause)) for n in range(AT_ONCE)]
    await stopping.wait()
    for task in tasks:
        task.cancel()


def run(ports, seed, pause, report):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    stopping, counts = asyncio.Event(), Counter()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(visit(ports, seed, counts, pause, stopping))
    with open(report, "w") as file:
        json.dump(counts, file)
    os._exit(0)


class HostileProcess:
    """The process. `pause` is the longest time, in seconds, between two visits of one of its clients."""

    def __init__(self, ports, seed, pause, work):
        self.report = f"{work}/hostile.json"
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=run, args=(ports, seed, pause, self.report), daemon=True)
        self.process.start()

    def stop(self):
        self.process.terminate()
        self.process.join(10)
        with open(self.report) as file:
            return Counter(json.load(file))
