"""The Autobahn cases on both faces of a running gateway.

The gateway passes nothing on by itself that is no OCPP, so it runs with the policy that observes, which passes everything as it came.

* The server's face: Autobahn's client is the station, and the central system behind the gateway echoes.
* The client's face: Autobahn's server is the central system, and the station in front of the gateway echoes.

Usage: python faces.py BINARY [server|client|both] [CASE ...]      a case may be a glob, such as 6.*
Exits with 1 if any case failed; prints what was not strict.
"""

import asyncio
import collections
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

import websockets
from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

ANY_SIZE = {"max_size": None, "compression": None, "ping_interval": None, "write_limit": 1 << 20}
LARGEST = 16 << 20
# Verdicts that are no failure. UNIMPLEMENTED is compression, which is declined.
FINE = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def echo(connection):
    """Sends back what comes."""
    try:
        async for message in connection:
            await connection.send(message)
    except websockets.ConnectionClosed:
        pass


class Renaming:
    """A TCP forwarder that writes another path into the first line of each connection and touches nothing else: Autobahn's paths are no
    stations' paths, and every connection is to be a station of its own."""

    def __init__(self, port, path):
        self.port, self.path = port, path
        self.running = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", 0, limit=1 << 20)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()
        for one in self.running:
            one.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def connection(self, reader, writer):
        onward = None
        self.running.add(asyncio.current_task())
        try:
            line = (await reader.readuntil(b"\r\n")).decode("latin-1")
            method, path, version = line.split(" ", 2)
            back, onward = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            for one in (writer, onward):
                one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            onward.write(f"{method} {self.path(path)} {version}".encode("latin-1"))
            await asyncio.gather(self.pump(reader, onward), self.pump(back, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.running.discard(asyncio.current_task())
            for one in (writer, onward):
                if one:
                    one.close()

    @staticmethod
    async def pump(reader, writer):
        try:
            while chunk := await reader.read(1 << 18):
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
        except OSError:
            # What was cut off here is cut off there.
            writer.transport.abort()


class Gateway:
    def __init__(self, binary, upstream, directory):
        self.port, admin = free_port(), free_port()
        config = directory / "sluis.toml"
        config.write_text(
            f"[stations]\nmax_frame_bytes = {LARGEST}\n[frames]\nburst = 10000000\n"
        )
        command = [binary, "serve", "--config", config, "--listen", f"127.0.0.1:{self.port}", "--upstream", f"ws://127.0.0.1:{upstream}/csms",
                   "--admin", f"127.0.0.1:{admin}", "--data-dir", directory / "data", "--policy", "observe"]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUIS")}
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    async def ready(self):
        for _ in range(3000):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return self
            except OSError:
                if self.process.poll() is not None:
                    break
                await asyncio.sleep(0.02)
        raise SystemExit(f"the gateway does not start:\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


async def server_face(binary, cases, directory):
    numbers = iter(range(1 << 30))
    async with serve(echo, "127.0.0.1", 0, **ANY_SIZE) as csms:
        gateway = await Gateway(binary, csms.sockets[0].getsockname()[1], directory).ready()
        try:
            async with Renaming(gateway.port, lambda _: f"/ocpp/CASE-{next(numbers)}") as front:
                return await run_fuzzingclient(f"ws://127.0.0.1:{front}", cases)
        except FailureError as failure:
            return failure.results
        finally:
            gateway.stop()


async def client_face(binary, cases, directory):
    def path(asked):
        case = re.search(r"CASE-(\d+)$", asked).group(1)
        return f"/runCase?case={case}&agent=sluis"

    async with run_fuzzingserver(cases, host="127.0.0.1", port=free_port()) as server, Renaming(server.port, path) as csms:
        gateway = await Gateway(binary, csms, directory).ready()
        try:
            async with connect(f"ws://127.0.0.1:{server.port}/getCaseCount", **ANY_SIZE) as asking:
                count = int(await asking.recv())
            for case in range(1, count + 1):
                try:
                    async with connect(f"ws://127.0.0.1:{gateway.port}/ocpp/CASE-{case}", open_timeout=60, **ANY_SIZE) as station:
                        await echo(station)
                except (OSError, websockets.InvalidHandshake, websockets.ConnectionClosed) as trouble:
                    print(f"case {case}: {type(trouble).__name__}")
            async with connect(f"ws://127.0.0.1:{server.port}/updateReports?agent=sluis", **ANY_SIZE):
                pass
            return await server.get_result()
        except FailureError as failure:
            return failure.results
        finally:
            gateway.stop()


def report(face, results, seconds):
    """Prints the verdicts and returns the cases that failed."""
    verdicts, failed, loose = collections.Counter(), [], collections.defaultdict(list)
    for result in results:
        behaviour, close = result.behavior.value, result.behavior_close.value
        verdicts[behaviour] += 1
        if behaviour not in FINE or close not in FINE:
            failed.append(f"{result.case_id}: {behaviour}, close {close} ({result.result}; {result.result_close})")
        for kind, value in (("", behaviour), ("close ", close)):
            if value in FINE - {"OK"}:
                loose[kind + value].append(result.case_id)
    print(f"{face}: {len(results)} cases in {seconds:.0f} s: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))
    for verdict, ids in sorted(loose.items()):
        shown = ids if len(ids) <= 40 else [f"{len(ids)} cases: {ids[0]} to {ids[-1]}"]
        print(f"  {verdict}: {' '.join(shown)}")
    for line in failed:
        print(f"  FAILED {line}")
    return failed


async def main():
    binary, face, *cases = [*sys.argv[1:], "both"][:2] + sys.argv[3:]
    faces = {"server": server_face, "client": client_face}
    failed = []
    for name in faces if face == "both" else [face]:
        with tempfile.TemporaryDirectory() as directory:
            start = time.monotonic()
            results = await faces[name](binary, cases or None, pathlib.Path(directory))
            if not results:
                raise SystemExit(f"no case ran on the {name}'s face")
            failed += report(f"{name}'s face", results, time.monotonic() - start)
            if out := os.environ.get("AUTOBAHN_REPORT"):
                pathlib.Path(out, f"{name}.json").write_text(
                    json.dumps([{"id": r.case_id, "behavior": r.behavior.value, "close": r.behavior_close.value, "result": r.result} for r in results])
                )
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    asyncio.run(main())
