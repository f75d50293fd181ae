"""The world of these tests: the gateway as a real process, a central system above it and stations below it on real sockets."""

import asyncio
import collections
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame
from websockets.http11 import Request

import messages

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 15.0


async def eventually(condition, what, patience=PATIENCE, pause=0.005):
    """Waits until a condition holds and gives its value."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        value = condition()
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        await asyncio.sleep(pause)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Gateway:
    """`sluis serve` as a process of its own."""

    def __init__(self, directory, upstream, policy="strict", config=None):
        binary = os.environ.get("SLUIS")
        self.binary = pathlib.Path(binary) if binary else REPOSITORY / "target" / "debug" / "sluis"
        if not self.binary.exists():
            raise AssertionError(f"there is no gateway to test at {self.binary}: build it, or name it in the environment variable SLUIS")
        self.directory = directory
        self.data = directory / "data"
        self.upstream = upstream
        self.policy = policy
        self.config = config
        self.extra = {}  # environment variables
        self.port, self.admin = free_ports(2)
        self.process = None

    @property
    def _environment(self):
        # The gateway reads SLUIS_… variables as settings; these tests have some of their own.
        return {name: value for name, value in os.environ.items() if not name.startswith("SLUIS")} | {"RUST_BACKTRACE": "1"} | self.extra

    def spawn(self):
        command = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}",
                   "--admin", f"127.0.0.1:{self.admin}", "--data-dir", self.data]  # fmt: skip
        if self.upstream:
            command += ["--upstream", self.upstream]
        if self.policy:
            command += ["--policy", self.policy]
        if self.config:
            file = self.directory / "sluis.toml"
            file.write_text(self.config)
            command += ["--config", file]
        with open(self.directory / "stdout", "ab") as out, open(self.directory / "stderr", "ab") as err:
            # SIGXFSZ stays ignored: a write beyond a limit on file sizes fails as one to a broken disk does.
            self.process = subprocess.Popen(command, stdout=out, stderr=err, cwd=self.directory, env=self._environment, restore_signals=False)

    async def start(self):
        self.spawn()
        await eventually(self._is_ready, f"the gateway to get ready; it said:\n{self.output()}")
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with status {self.process.returncode} instead of getting ready:\n{self.output()}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path):
        """An answer of the admin port: (status, body)."""
        admin = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        with contextlib.closing(admin):
            admin.request("GET", path)
            answer = admin.getresponse()
            return answer.status, answer.read().decode(errors="replace")

    def kill(self):
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends the process in the orderly way, or by force if it will not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def output(self):
        """All that it has written to stdout and stderr."""
        files = (self.directory / "stdout", self.directory / "stderr")
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def files(self):
        """Every file under the data directory: path → content."""
        return {file.relative_to(self.data): file.read_bytes() for file in sorted(self.data.rglob("*")) if file.is_file()}

    def codes(self, identifiers):
        """What `sluis codes` says: identifier → its codes, the current one first."""
        run = subprocess.run([self.binary, "codes", "--data-dir", self.data], input="\n".join(identifiers) + "\n", text=True,
                             capture_output=True, timeout=60, cwd=self.directory, env=self._environment)  # fmt: skip
        assert run.returncode == 0, f"sluis codes ended with status {run.returncode}: {run.stderr}"
        return {line.split("\t")[0]: line.split("\t")[1:] for line in run.stdout.splitlines() if line}

    def url(self, station):
        return f"ws://127.0.0.1:{self.port}/ocpp/{station}"


class Peer:
    """One end of a conversation, in raw OCPP-J frames. `answers(action, payload)` says what it answers to a CALL: a payload, a
    tuple (error code, description, details), a text to send as it is, or None for silence."""

    def __init__(self, socket, answers=None):
        self.socket = socket
        self.answers = answers
        self.texts = []
        self.calls = []
        self.ids = collections.Counter()
        self._waiting = {}
        self._number = 0
        self._answering = set()
        self.reader = None

    @property
    def subprotocol(self):
        return self.socket.subprotocol

    def start(self):
        self.reader = asyncio.create_task(self.listen())
        return self

    async def listen(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                await self._take(text)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the connection ended before the answer came"))
                # Nobody may be waiting any more.
                waiting.exception()

    async def _take(self, text):
        text = text if isinstance(text, str) else text.decode(errors="replace")
        self.texts.append(text)
        try:
            frame = json.loads(text)
            kind, message_id = frame[0], frame[1]
        except (ValueError, LookupError, TypeError):
            return
        if kind in (3, 4):
            self.ids[message_id] += 1
            waiting = self._waiting.pop(message_id, None)
            if waiting and not waiting.done():
                waiting.set_result(text)
        elif kind == 2:
            self.calls.append(frame)
            answer = self.answers(frame[2], frame[3]) if self.answers else None
            if isinstance(answer, tuple):
                answer = json.dumps([4, message_id, *answer, *("", {})[len(answer) - 1 :]])
            elif isinstance(answer, dict):
                answer = json.dumps([3, message_id, answer])
            if answer is not None:
                with contextlib.suppress(websockets.ConnectionClosed):
                    await self.socket.send(answer)

    async def send(self, frame):
        """Sends a frame: text as it is, anything else as JSON."""
        await self.socket.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))

    def new_id(self):
        # Short enough that it cannot hold a card number.
        self._number += 1
        return f"m{self._number}"

    def expect(self, message_id):
        """A future for the answer to a CALL that is about to be sent."""
        return self._waiting.setdefault(message_id, asyncio.get_running_loop().create_future())

    async def call(self, action, payload, message_id=None, patience=PATIENCE):
        """Sends a CALL and gives the text of its answer."""
        message_id = message_id or self.new_id()
        answer = self.expect(message_id)
        await self.send([2, message_id, action, payload])
        try:
            return await asyncio.wait_for(answer, patience)
        except asyncio.TimeoutError:
            raise AssertionError(f"no answer to {action} within {patience:.0f} s") from None

    async def asks(self, action, payload, **options):
        """The same, but the answer must be a CALLRESULT and its payload is given."""
        frame = json.loads(await self.call(action, payload, **options))
        assert frame[0] == 3, f"{action} was answered with {frame}"
        return frame[2]

    def received(self, action):
        """The payloads of the CALLs of an action that arrived here."""
        return [frame[3] for frame in self.calls if frame[2] == action]

    async def receives(self, action, count=1):
        """Waits for the count-th CALL of an action and gives its payload."""
        return (await eventually(lambda: self.received(action)[count - 1 :], f"{action} to arrive"))[0]

    async def close(self, code=1000, reason=""):
        await self.socket.close(code, reason)

    async def is_closed(self):
        """Waits for the end of the connection and gives its close code."""
        await asyncio.wait_for(self.socket.wait_closed(), PATIENCE)
        return self.socket.close_code


class Csms:
    """A central system. It keeps everything that ever reaches it: handshakes, frames, pings, close reasons. With `tls`, it speaks wss."""

    def __init__(self, tls=None):
        self.tls = tls
        self.port = None
        self.speaks = list(messages.SUBPROTOCOL.values())
        self.refusal = None  # (status, body): refuses handshakes
        self.admits = None  # async function (station): what a handshake waits for
        self.answers = None
        self.runs = None  # async function (station, socket): converses in place of a Peer
        self.peers = collections.defaultdict(list)
        self.handshakes = []
        self.wire = []
        self._server = None

    async def start(self):
        csms = self

        class Recorded(ServerConnection):
            def process_event(self, event):
                if isinstance(event, Request):
                    csms.handshakes.append((event.path, list(event.headers.raw_items())))
                elif isinstance(event, Frame):
                    csms.wire.append(bytes(event.data).decode(errors="replace"))
                super().process_event(event)

        def choose(connection, offered):
            return next((name for name in offered if name in self.speaks), None)

        async def refuse(connection, request):
            if self.admits:
                await self.admits(request.path.rsplit("/", 1)[-1])
            return connection.respond(*self.refusal) if self.refusal else None

        self._server = await serve(self._converse, "127.0.0.1", self.port or 0, create_connection=Recorded, select_subprotocol=choose,
                                   process_request=refuse, compression=None, max_size=64 << 20, ping_interval=None, ssl=self.tls)  # fmt: skip
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self):
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/csms"

    async def _converse(self, socket):
        station = socket.request.path.rsplit("/", 1)[-1]
        if self.runs:
            with contextlib.suppress(websockets.ConnectionClosed):
                await self.runs(station, socket)
            return
        answers = self.answers or messages.answers((socket.subprotocol or "ocpp1.6").removeprefix("ocpp"))
        peer = Peer(socket, answers)
        self.peers[station].append(peer)
        await peer.listen()

    async def conversation(self, station, number=1):
        """The number-th connection of a station, once it stands."""
        return (await eventually(lambda: self.peers[station][number - 1 :], f"connection {number} of {station} at the CSMS"))[0]

    def saw(self):
        """Everything that reached it, as texts."""
        return [f"{path} {name}: {value}" for path, headers in self.handshakes for name, value in headers] + self.wire

    async def stop(self):
        if self._server:
            self._server.close()
            await self._server.wait_closed()


async def dial(url, version="1.6", answers="habit", subprotocols=None, headers=None, **options):
    """A station that calls the gateway. `version=None` offers no subprotocol."""
    if answers == "habit":
        answers = messages.answers(version or "1.6")
    if subprotocols is None and version is not None:
        subprotocols = [messages.SUBPROTOCOL[version]]
    options = {"compression": None, "max_size": 64 << 20, "ping_interval": None, "proxy": None, "user_agent_header": None} | options
    socket = await connect(url, subprotocols=subprotocols, additional_headers=headers, **options)
    return Peer(socket, answers).start()
