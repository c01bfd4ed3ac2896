"""A relay between clients and daemons, in a process of its own, that breaks connections in every phase.

Knows the packets of the protocol: what is broken is chosen by phase, not by time. See KINDS for what is done, and
`may_flip` for what a flipped bit must not hit if its job is to be compared: TCP carries no checksum of its own for
distcc, so that whoever changes the text of a source, its length, a status or an object has changed the result.
Compressed requests are flipped nevertheless; their jobs are marked, and only their end is looked at.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import random
import signal
import socket
import struct
from collections import Counter

HEADER_BYTES = 12
PIECE_BYTES = 1 << 16
BODIES = (b"ARGV", b"CDIR", b"NAME", b"LINK", b"FILE", b"DOTI", b"SERR", b"SOUT", b"DOTO", b"DOTD")
# Tokens whose number may lose a bit without another result being possible that the client could not know of.
SAFE_NUMBERS = (b"DIST", b"ARGC", b"ARGV", b"CDIR", b"NAME", b"DONE", b"SERR", b"SOUT")
# What happens to a connection, and how often of a thousand.
KINDS = {
    "cut": 24,
    "reset": 16,
    "stall": 2,
    "delay": 24,
    "trickle": 8,
    "flip in a header": 16,
    "flip in a compressed request": 6,
}
MOMENTS = ("before a byte", "request head", "request body", "compiling", "reply head", "reply body")
STALL_SECONDS = 30
DELAY_SECONDS_MAX = 0.5
TRICKLE_PIECES_MAX = 60
TRICKLE_SECONDS = 0.004
CONNECT_SECONDS_MAX = 5
CONTENT_MARK = "content"


class Broken(Exception):
    """The connection is to end here."""


class Packets:
    """Splits a stream into headers, whole, and pieces of bodies."""

    def __init__(self):
        self.partial, self.token, self.left = b"", b"", 0
        self.garbled = False

    def split(self, data):
        while data:
            if self.garbled:
                yield "body", b"", data
                return
            if self.left:
                piece, data = data[: self.left], data[self.left :]
                self.left -= len(piece)
                yield "body", self.token, piece
                continue
            need = HEADER_BYTES - len(self.partial)
            self.partial, data = self.partial + data[:need], data[need:]
            if len(self.partial) == HEADER_BYTES:
                header, self.partial = self.partial, b""
                self.token = header[:4]
                try:
                    self.left = int(header[4:], 16) if self.token in BODIES else 0
                except ValueError:
                    self.garbled = True
                yield "head", self.token, header


class Plan:
    """What is to happen to one connection."""

    def __init__(self, rng, marks, often):
        self.rng, self.marks = rng, marks
        draw, self.kind = rng.randrange(1000) / often, None
        for kind, share in KINDS.items():
            if draw < share:
                self.kind = kind
                break
            draw -= share
        self.moment = rng.choice(MOMENTS)
        if self.kind == "flip in a header":
            self.moment = rng.choice(("request head", "reply head"))
        elif self.kind == "flip in a compressed request":
            self.moment = "request body"
        elif self.kind == "trickle":
            self.moment = rng.choice(("request head", "request body", "reply head", "reply body"))
        self.countdown = rng.randrange(10) if self.moment == "request head" else rng.randrange(4)
        self.pieces = 0
        self.is_done = False
        self.version, self.files_left = 0, 0
        self.output, self.last_word = None, b""

    def is_due(self, direction, what, token):
        if self.is_done or self.kind is None:
            return False
        if self.moment == "request body":
            return direction == "request" and what == "body" and token in (b"DOTI", b"FILE")
        if self.moment == "reply body":
            return direction == "reply" and what == "body" and token in (b"SERR", b"DOTO", b"DOTD")
        if what == "head" and self.moment == f"{direction} head":
            self.countdown -= 1
            return self.countdown < 0
        return False

    def follow(self, what, token, piece):
        """Notes what the request says. True when it is complete."""
        if what == "head":
            try:
                number = int(piece[4:], 16)
            except ValueError:
                return False
            if token == b"DIST":
                self.version = number
            elif token == b"NFIL":
                self.files_left = number
                return number == 0
            elif token in (b"FILE", b"LINK") and number == 0:
                self.files_left -= 1
                return self.files_left == 0
            elif token == b"DOTI":
                return number == 0
        elif token == b"ARGV":
            if self.last_word == b"-o":
                self.output = os.path.basename(piece.decode(errors="replace"))
            self.last_word = piece
        return False

    def body_ended(self, token):
        if token in (b"FILE", b"LINK"):
            self.files_left -= 1
            return self.files_left == 0
        return token == b"DOTI"

    def mark(self, text):
        """Tells the checker of the job what befell it."""
        if self.output:
            with open(f"{self.marks}/{self.output}", "a") as file:
                file.write(text + "\n")


def may_flip(what, token, at):
    return what == "head" and (at < 4 or token in SAFE_NUMBERS)


def flipped(rng, piece, at):
    return piece[:at] + bytes([piece[at] ^ 1 << rng.randrange(7)]) + piece[at + 1 :]


class Relay:
    """One daemon's relay."""

    def __init__(self, listener, port, seed, often, marks, counts):
        self.listener, self.port, self.seed, self.often = listener, port, seed, often
        self.marks, self.counts, self.number = marks, counts, 0

    async def serve(self):
        server = await asyncio.start_server(self.on_client, sock=self.listener, limit=PIECE_BYTES)
        await server.serve_forever()

    async def on_client(self, reader, writer):
        self.number += 1
        plan = Plan(random.Random(f"{self.seed}/{self.port}/{self.number}"), self.marks, self.often)
        self.counts["connections"] += 1
        server_writer = None
        try:
            if plan.kind and plan.moment == "before a byte":
                await self.act(plan, None, b"")
            opening = asyncio.open_connection("127.0.0.1", self.port, limit=PIECE_BYTES)
            server_reader, server_writer = await asyncio.wait_for(opening, CONNECT_SECONDS_MAX)
            up = asyncio.create_task(self.copy("request", plan, reader, server_writer))
            down = asyncio.create_task(self.copy("reply", plan, server_reader, writer))
            _, pending = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            results = await asyncio.gather(up, down, return_exceptions=True)
            for error in results:
                if isinstance(error, Broken):
                    raise error
        except Broken as broken:
            if broken.args[0] == "reset":
                for each in filter(None, (writer, server_writer)):
                    linger = struct.pack("ii", 1, 0)
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (OSError, asyncio.TimeoutError):
            self.counts["daemon away"] += 1
        finally:
            for each in filter(None, (writer, server_writer)):
                each.close()

    async def copy(self, direction, plan, source, target):
        """Passes one direction on. Ends when its sender is done, for both: no side of distcc closes only half."""
        packets, is_first = Packets(), direction == "request"
        try:
            while data := await source.read(PIECE_BYTES):
                if is_first:
                    self.counts[f"version {data[:HEADER_BYTES][-1:].decode(errors='replace')}"] += 1
                    is_first = False
                if plan.kind is None or plan.is_done:
                    target.write(data)
                    await target.drain()
                    continue
                for what, token, piece in packets.split(data):
                    await self.pass_on(direction, plan, packets, (what, token, piece), target)
                await target.drain()
        except OSError:
            pass

    async def pass_on(self, direction, plan, packets, part, target):
        what, token, piece = part
        is_complete = False
        if direction == "request":
            is_complete = plan.follow(what, token, piece)
            if what == "body" and packets.left == 0:
                is_complete = plan.body_ended(token)
        if plan.is_due(direction, what, token):
            piece = await self.act(plan, target, piece, what, token)
        target.write(piece)
        if is_complete and plan.kind and plan.moment == "compiling" and not plan.is_done:
            await target.drain()
            await asyncio.sleep(plan.rng.uniform(0, 0.06))
            await self.act(plan, None, b"")

    async def act(self, plan, target, piece, what="", token=b""):
        """Does what is planned; returns what is left to be passed on."""
        kind, rng = plan.kind, plan.rng
        if kind == "flip in a header":
            at = rng.randrange(HEADER_BYTES)
            if not may_flip(what, token, at):
                at %= 4
            piece = flipped(rng, piece, at)
        elif kind == "flip in a compressed request":
            if plan.version < 2 or not piece:
                return piece
            plan.mark(CONTENT_MARK)
            piece = flipped(rng, piece, rng.randrange(len(piece)))
        elif kind == "trickle":
            while plan.pieces < TRICKLE_PIECES_MAX and piece:
                plan.pieces += 1
                count = rng.randrange(1, 64)
                target.write(piece[:count])
                piece = piece[count:]
                await asyncio.sleep(TRICKLE_SECONDS)
            if plan.pieces < TRICKLE_PIECES_MAX:
                return piece
        plan.is_done = True
        self.counts[f"{kind}, {plan.moment}"] += 1
        if kind == "delay":
            await asyncio.sleep(rng.uniform(0.01, DELAY_SECONDS_MAX))
        elif kind in ("cut", "reset", "stall"):
            if target and len(piece) > 1:
                target.write(piece[: rng.randrange(len(piece))])
                await target.drain()
            if kind == "stall":
                await asyncio.sleep(STALL_SECONDS)
            raise Broken(kind)
        return piece


async def serve_all(relays, stopping):
    tasks = [asyncio.create_task(relay.serve()) for relay in relays]
    await stopping.wait()
    for task in tasks:
        task.cancel()


def run(listeners, ports, seed, often, marks, report):
    """The relay's process: serves until SIGTERM, then writes what it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Of a peer that is gone; what is sent to it is lost, as it should be.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    counts = Counter()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.set_exception_handler(lambda *_: None)
    relays = [Relay(listener, port, seed, often, marks, counts) for listener, port in zip(listeners, ports)]
    loop.run_until_complete(serve_all(relays, stopping))
    with open(report, "w") as file:
        json.dump(counts, file)
    os._exit(0)


class RelayProcess:
    """The process with a relay before each port. It breaks `often` times as many connections as KINDS says."""

    def __init__(self, ports, seed, often, work):
        self.marks, self.report = f"{work}/marks", f"{work}/relay.json"
        os.mkdir(self.marks)
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=256) for _ in ports]
        self.ports = [listener.getsockname()[1] for listener in listeners]
        context = multiprocessing.get_context("fork")
        arguments = (listeners, ports, seed, often, self.marks, self.report)
        self.process = context.Process(target=run, args=arguments, daemon=True)
        self.process.start()
        for listener in listeners:
            listener.close()

    def stop(self):
        """Ends it; returns what it did."""
        self.process.terminate()
        self.process.join(10)
        with open(self.report) as file:
            return Counter(json.load(file))

    def marks_of(self, output):
        """What befell a job, by the name of its output."""
        try:
            with open(f"{self.marks}/{output}") as file:
                return file.read().split("\n")
        except OSError:
            return []
