"""The fault matrix: fault × moment × version. While stations of every version stand at every moment of a charging session, one thing goes wrong.
Nothing clear crosses, nothing that was acknowledged is lost, each station gets a defined answer or a defined end within a deadline, and
once the fault is gone every session goes through to its end without anybody's help.

The table in docs/reliability.md is what ran: SLUIS_FAULTS=write writes it anew.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import glob
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable

import pytest
import websockets

import leaks
import weather
import world
from cells import DEADLINE, MOMENTS, VERSIONS, Cell
from conftest import PSEUDONYM
from world import REPOSITORY, eventually

PAGE = REPOSITORY / "docs" / "reliability.md"
FAKETIME = next(iter(sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))), None)
GARBAGE = "220 gibberish.example ESMTP"
TRIES_IN_AN_HOUR = 60


class Scene:
    """A gateway, a central system above it, the network in between, and a station for each cell."""

    def __init__(self, directory):
        self.directory = directory
        self.secrets = leaks.Secrets()
        self.cells = []
        self.held = []  # stations whose upgrade the central system has not answered yet
        self.release = asyncio.Event()
        self.policy = "strict"
        self.upstream = None  # in place of the central system

    async def start(self, fault):
        self.fault = fault
        self.csms = world.Csms()
        self.csms.runs = lambda station, socket: self.cell(station).runs(socket)
        self.csms.admits = self._admits
        await self.csms.start()
        self.weather = await weather.Weather(self.csms.port).start()
        self.gateway = world.Gateway(self.directory, None, policy=None, config=self.config())
        self.gateway.extra = fault.environment(self)
        if fault.prepare:
            await fault.prepare(self)
        await self.gateway.start()
        self.cells = [Cell(number, version, moment, self.secrets) for number, (moment, version) in enumerate((m, v) for m in MOMENTS for v in VERSIONS)]
        return self

    def cell(self, station):
        return next(cell for cell in self.cells if cell.name == station)

    async def _admits(self, station):
        if self.cell(station).moment == "before the upgrade" and not self.release.is_set():
            self.held.append(station)
            await self.release.wait()

    def config(self):
        upstream = self.upstream or f"ws://127.0.0.1:{self.weather.port}/csms"
        return (
            f'policy = "{self.policy}"\nallow_plaintext = {str(self.fault.plaintext).lower()}\n'
            f'[upstream]\nurl = "{upstream}"\ntimeout_seconds = 3\n'
            f"[stations]\nping_seconds = {self.fault.ping}\ndrain_seconds = 5\n"
            f"[frames]\nanswer_seconds = {self.fault.answer}\n"
            "[limits]\nstation_handshakes_per_minute = 0\ntakeovers_per_minute = 0\n"
        )

    async def reload(self, text=None, says="new connections go by it"):
        """Writes the configuration and has the gateway read it again."""
        before = self.gateway.output().count(says)
        self.gateway.config = text or self.config()
        (self.directory / "sluis.toml").write_text(self.gateway.config)
        self.gateway.process.send_signal(signal.SIGHUP)
        await eventually(lambda: self.gateway.output().count(says) > before, f"the log to say {says!r}")

    async def uppers(self, act: Callable[[Cell], Awaitable]):
        """Does something at the central system's end of each connection that stands."""
        for cell in self.cells:
            if cell.upper and cell.moment != "before the upgrade":
                await act(cell)

    async def speak_up(self):
        for cell in self.cells:
            await cell.speaks_up()

    @property
    def database(self):
        return self.gateway.data / "sluis.db"

    def facts(self):
        """(station, message id) → how often a fact of the station's own is there; (station, number) → that the answer which
        names the transaction is there. A retry whose first try was given up goes on under another id, and so do its facts."""
        found = {}
        # Not a copy: what is asked for is what another process finds.
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as database:
            for station, message_id, count in database.execute(
                "SELECT station, message_id, count(*) FROM journal WHERE action NOT LIKE '%Response' GROUP BY station, message_id"
            ):
                found[station, message_id] = count
            for station, payload in database.execute("SELECT station, payload FROM journal WHERE action = 'StartTransactionResponse'"):
                found[station, json.loads(payload)["transactionId"]] = 1
        return found

    async def stop(self):
        self.release.set()
        for cell in self.cells:
            if cell.dialling and not cell.dialling.done():
                cell.dialling.cancel()
        await asyncio.to_thread(self.gateway.stop)
        await self.weather.stop()
        await self.csms.stop()


async def nothing(scene):
    pass


@dataclasses.dataclass
class Fault:
    name: str
    inject: Callable[[Scene], Awaitable]
    before: str  # what a station gets that is about to be upgraded; alternatives with a stroke
    idle: str
    outstanding: str
    lift: Callable[[Scene], Awaitable] = nothing
    during: Callable[[Scene], Awaitable] = nothing
    prepare: Callable[[Scene], Awaitable] | None = None
    dial_after: bool = False  # stations come when the fault is there, and are not in the middle of coming
    act_after: bool = False  # the CALL is sent when the fault is there
    answered_after: bool = False  # the answer comes once the fault is gone
    dial: Callable[[Scene, Cell], Awaitable] | None = None
    plaintext: bool = False
    ping: int = 5
    answer: int = 300
    faketime: bool = False

    def environment(self, scene):
        if not self.faketime:
            return {}
        (scene.directory / "time").write_text("+0")
        return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(scene.directory / "time"), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}  # fmt: skip

    def allowed(self, cell):
        words = {"before the upgrade": self.before, "idle": self.idle}.get(cell.moment, self.outstanding)
        return words.split(" | ")


# --- the central system --------------------------------------------------------------------------------------------------------


async def refuse(scene):
    await scene.weather.refuse()
    await scene.weather.reset()


async def clear(scene):
    await scene.weather.clear()


async def all_are_told(scene, status, times=1):
    """Whoever comes while the fault lasts is refused, and with this status."""
    for _ in range(times):
        told = await asyncio.gather(*(cell.try_again(scene.gateway) for cell in scene.cells))
        assert set(told) == {f"HTTP {status}"}, told


def refused_with(status, code=1008):
    async def inject(scene):
        scene.csms.refusal = (status, "no\n")
        await scene.uppers(lambda cell: cell.upper.close(code))

    async def lift(scene):
        scene.csms.refusal = None

    return {"inject": inject, "lift": lift, "during": lambda scene: all_are_told(scene, status)}


async def hang(scene):
    scene.weather.hang()


async def fall_silent(scene):
    for cell in scene.cells:
        cell.hush = True


async def reset_in_a_frame(scene):
    await scene.weather.reset(weather.HALF_A_FRAME)


def babble(frame):
    async def inject(scene):
        scene.weather.greeting = f"{GARBAGE}\r\n\r\n".encode()
        await scene.uppers(lambda cell: cell.upper.send(frame(cell)))

    return inject


async def nobody_heard_it(scene):
    """Garbage of the central system does not reach a station."""
    for cell in scene.cells:
        if cell.peer:
            assert not [text for text in cell.peer.texts if "gibberish" in text], cell


async def clear_and_speak_up(scene):
    await scene.weather.clear()
    await scene.speak_up()


def wrong_answer(cell):
    return json.dumps([3, "gibberish", {"status": "Accepted", "data": "gibberish"}])


def broken_answer(cell):
    message_id = cell.unanswered[0][0] if cell.unanswered else "gibberish"
    return json.dumps([3, message_id, ["gibberish"]])


async def half_close_above(scene):
    scene.weather.half_close()


async def half_close_below(scene):
    for cell in scene.cells:
        if cell.peer:
            cell.peer.socket.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)


async def dial_and_half_close(scene, cell):
    """Asks for an upgrade and at once closes its own side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.port)
    try:
        writer.write(f"GET /ocpp/{cell.name} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Protocol: ocpp{cell.version}\r\n\r\n".encode())  # fmt: skip
        writer.write_eof()
        answer = await reader.read()
    finally:
        writer.close()
    assert not answer, answer
    raise EOFError


# --- names ---------------------------------------------------------------------------------------------------------------------


async def lose_the_name(scene):
    scene.upstream = "ws://csms.invalid:9/csms"
    await scene.reload()


async def find_the_name(scene):
    scene.upstream = None
    await scene.reload()
    await scene.speak_up()


# --- the store -----------------------------------------------------------------------------------------------------------------


async def hold_the_store(scene):
    """Another process has the store's write lock."""
    scene.lock = sqlite3.connect(scene.database, isolation_level=None, timeout=10)
    scene.lock.execute("BEGIN IMMEDIATE")


async def let_the_store_go(scene):
    scene.lock.execute("ROLLBACK")
    scene.lock.close()


async def let_it_go_late(scene):
    # The fault is the time that it takes.
    await asyncio.sleep(1.5)
    assert not [cell for cell in scene.cells if cell.waiting and cell.waiting.done()], "nothing is acknowledged before it is durable"
    await let_the_store_go(scene)


def mount(directory):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", directory], capture_output=True).returncode == 0


async def a_small_disk(scene):
    scene.gateway.data.mkdir(mode=0o700)
    if not mount(scene.gateway.data):
        pytest.skip("this machine lets nobody mount a file system")
    os.chmod(scene.gateway.data, 0o700)


async def fill_the_disk(scene):
    with open(scene.gateway.data / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


async def empty_the_disk(scene):
    (scene.gateway.data / "filler").unlink()


def limit(gateway, what, most):
    hard = resource.prlimit(gateway.process.pid, what)[1]
    resource.prlimit(gateway.process.pid, what, (hard if most is None else most, hard))


async def forbid_writing(scene):
    limit(scene.gateway, resource.RLIMIT_FSIZE, 0)


async def allow_writing(scene):
    limit(scene.gateway, resource.RLIMIT_FSIZE, None)


async def is_not_ready(scene):
    assert scene.gateway.get("/readyz")[0] == 503


async def does_not_start(gateway, why):
    """It says why, and leaves nothing bound."""
    said = len(gateway.output())
    gateway.spawn()
    assert await asyncio.to_thread(gateway.process.wait, 20) == 1
    told = gateway.output()[said:]
    assert re.search(why, told) and "panicked" not in told, told
    for port in (gateway.port, gateway.admin):
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()


def remount(scene, how):
    subprocess.run(["mount", "-o", f"remount,{how}", scene.gateway.data], check=True)


async def die_and_be_read_only(scene):
    scene.gateway.kill()
    remount(scene, "ro")
    await does_not_start(scene.gateway, "written|read-only")


async def be_writable_again(scene):
    remount(scene, "rw")
    await scene.gateway.start()


async def die_and_rot(scene):
    """The process is killed, and what it wrote is not what is found: it must not start on that."""
    gateway = scene.gateway
    gateway.kill()
    with contextlib.closing(sqlite3.connect(scene.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    scene.good = scene.directory / "good.db"
    shutil.copy(scene.database, scene.good)
    good = scene.good.read_bytes()
    for spoilt in (range(0, 16), range(100, 4096), range(0, len(good), 7)):
        bad = bytearray(good)
        for at in spoilt:
            bad[at] ^= 0xA5
        scene.database.write_bytes(bad)
        for beside in ("sluis.db-wal", "sluis.db-shm"):
            (gateway.data / beside).unlink(missing_ok=True)
        await does_not_start(gateway, "damaged|corrupt")


async def put_it_back(scene):
    for beside in ("sluis.db-wal", "sluis.db-shm"):
        (scene.gateway.data / beside).unlink(missing_ok=True)
    shutil.copy(scene.good, scene.database)
    await scene.gateway.start()


# --- the machine ---------------------------------------------------------------------------------------------------------------


def jump(seconds):
    async def inject(scene):
        (scene.directory / "time").write_text(f"{seconds:+d}")

    async def lift(scene):
        await scene.speak_up()

    async def during(scene):
        """The gateway's clock has jumped indeed: its next words are from then."""
        with contextlib.suppress(websockets.WebSocketException):
            await world.dial(f"ws://127.0.0.1:{scene.gateway.port}/", "1.6")
        line = json.loads(scene.gateway.output().strip().splitlines()[-1])
        then = datetime.datetime.fromisoformat(line["timestamp"]).timestamp()
        assert abs(then - time.time() - seconds) < 60, line

    return {"inject": inject, "lift": lift, "during": during}


async def use_up_descriptors(scene):
    used = {int(number) for number in os.listdir(f"/proc/{scene.gateway.process.pid}/fd")}
    most = next(number for number in range(1, 4096) if number not in used) + 1
    limit(scene.gateway, resource.RLIMIT_NOFILE, most)


async def give_descriptors(scene):
    limit(scene.gateway, resource.RLIMIT_NOFILE, None)
    await scene.speak_up()


async def terminate(scene):
    scene.gateway.process.send_signal(signal.SIGTERM)
    # The central system is not the one to end the wait.
    await asyncio.gather(*(asyncio.wait([cell.dialling]) for cell in scene.cells if cell.dialling))


async def start_again(scene):
    assert await asyncio.to_thread(scene.gateway.process.wait, 20) == 0
    await scene.gateway.start()


async def kill(scene):
    scene.gateway.kill()


async def start_after_death(scene):
    await scene.gateway.start()


async def reload_another_policy(scene):
    good = scene.config()
    for broken, key in [
        (good + "[nonsense]\nkey = 1\n", "nonsense"),
        (good.replace('"strict"', '"/there/is/none"'), "policy"),
        (good.replace("ping_seconds = 5", "ping_seconds = 5000000"), "stations.ping_seconds"),
        (good.replace('url = "ws:', 'url = "http:'), "upstream.url"),
        (good + "[stations", "sluis.toml"),
    ]:
        said = len(scene.gateway.output())
        await scene.reload(broken, says="what was read before stays in force")
        told = scene.gateway.output()[said:]
        assert key in told and "/there/is/none" not in told, told
        assert 'sluis_policy_info{policy="strict"} 1' in scene.gateway.get("/metrics")[1]
    scene.policy = "smart-charging"
    await scene.reload()


async def the_policy_is_another(scene):
    metrics = scene.gateway.get("/metrics")[1]
    assert 'sluis_policy_info{policy="smart-charging"} 1' in metrics and 'sluis_policy_info{policy="strict"} 0' in metrics


async def speak_up(scene):
    await scene.speak_up()


UNTOUCHED = {"before": "upgrade", "idle": "stays", "outstanding": "CALLRESULT"}
FAULTS = [
    Fault("the CSMS refuses connections", refuse, "HTTP 502 | HTTP 503", "close 1001", "close 1001", clear, lambda scene: all_are_told(scene, 503)),
    Fault("the CSMS refuses with 401", before="HTTP 401", idle="close 1008", outstanding="close 1008", **refused_with(401)),
    Fault("the CSMS refuses with 503", before="HTTP 503", idle="close 1001", outstanding="close 1001", **refused_with(503, 1001)),
    Fault("the CSMS accepts and says nothing", hang, "HTTP 503", "close 1001", "close 1001", clear, ping=1),
    Fault("the CSMS upgrades and never answers", fall_silent, "upgrade", "stays", "CALLERROR GenericError", answer=30),
    Fault("the CSMS resets in the middle of a frame", reset_in_a_frame, "HTTP 502 | HTTP 503", "close 1001", "close 1001"),
    Fault("the CSMS sends no JSON", babble(lambda cell: GARBAGE.replace("220", "gibberish")), "HTTP 502", "stays", "CALLRESULT",
          clear_and_speak_up, nobody_heard_it, dial_after=True, answered_after=True),
    Fault("the CSMS answers under a wrong id", babble(wrong_answer), "HTTP 502", "stays", "CALLRESULT", clear_and_speak_up, nobody_heard_it,
          dial_after=True, answered_after=True),
    Fault("the CSMS answers with a broken payload", babble(broken_answer), "HTTP 502", "stays", "CALLERROR InternalError", clear, nobody_heard_it,
          dial_after=True),
    Fault("the CSMS is away for an hour", refuse, "HTTP 502 | HTTP 503", "close 1001", "close 1001", clear,
          lambda scene: all_are_told(scene, 503, TRIES_IN_AN_HOUR)),
    Fault("the CSMS half-closes", half_close_above, "HTTP 502 | HTTP 503", "close 1001", "close 1001"),
    Fault("the station half-closes", half_close_below, "end", "close 1001 | end", "close 1001 | end", dial_after=True, dial=dial_and_half_close),
    Fault("the CSMS's name does not resolve", lose_the_name, "HTTP 503", "stays", "CALLRESULT", find_the_name, dial_after=True, answered_after=True,
          plaintext=True),
    Fault("the store is slow", hold_the_store, lift=let_it_go_late, act_after=True, answered_after=True, **UNTOUCHED),
    Fault("the store is locked", hold_the_store, "upgrade", "stays", "close 1011", let_the_store_go, is_not_ready, act_after=True),
    Fault("the store is full", fill_the_disk, "upgrade", "stays", "close 1011", empty_the_disk, is_not_ready, prepare=a_small_disk, act_after=True),
    Fault("nothing can be written", forbid_writing, "upgrade", "stays", "close 1011", allow_writing, is_not_ready, act_after=True),
    Fault("the store is corrupt after a kill", die_and_rot, "end", "end", "end", put_it_back),
    Fault("the store is read-only after a kill", die_and_be_read_only, "end", "end", "end", be_writable_again, prepare=a_small_disk),
    Fault("the clock jumps an hour ahead", answered_after=True, faketime=True, **UNTOUCHED, **jump(3600)),
    Fault("the clock jumps an hour back", answered_after=True, faketime=True, **UNTOUCHED, **jump(-3600)),
    Fault("file descriptors run out", use_up_descriptors, "HTTP 503", "stays", "CALLRESULT", give_descriptors, dial_after=True, answered_after=True),
    Fault("SIGTERM", terminate, "HTTP 503", "close 1001", "close 1001", start_again),
    Fault("SIGKILL", kill, "end", "end", "end", start_after_death),
    Fault("SIGHUP: broken files, then another policy", reload_another_policy, lift=speak_up, during=the_policy_is_another, answered_after=True, **UNTOUCHED),
]  # fmt: skip

rows = {}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
async def test_a_fault_loses_nothing_leaks_nothing_and_passes(fault, tmp_path):
    if fault.faketime and not FAKETIME:
        pytest.skip("libfaketime is not installed")
    scene = Scene(tmp_path)
    try:
        await scene.start(fault)
        await play(scene, fault)
        lost, leaked = await look_for_losses(scene), look_for_leaks(scene)
        assert not lost and not leaked
        rows[fault.name] = f"| {fault.name} | {len(scene.cells)} | {told(fault.before)} | {told(fault.idle)} | {told(fault.outstanding)} | {len(lost)} | {len(leaked)} |"
    finally:
        await scene.stop()
        if os.path.ismount(scene.gateway.data):
            subprocess.run(["umount", scene.gateway.data], check=True)


async def play(scene, fault):
    cells, gateway = scene.cells, scene.gateway
    late = [cell for cell in cells if fault.act_after or (fault.dial_after and cell.moment == "before the upgrade")]
    await asyncio.gather(*(cell.come_to_moment(gateway) for cell in cells))
    await asyncio.gather(*(cell.act(gateway) for cell in cells if cell not in late))
    await eventually(lambda: len(scene.held) >= len([c for c in cells if c.moment == "before the upgrade" and c not in late]), "upgrades that wait")
    await fault.inject(scene)
    for cell in late:
        if fault.dial and cell.moment == "before the upgrade":
            cell.dialling = asyncio.create_task(fault.dial(scene, cell))
        else:
            await cell.act(gateway, heard=False)
    scene.release.set()
    stays = "stays" in fault.idle
    if fault.answered_after:
        # Whoever is refused is so now; the others are answered later.
        comers = [cell for cell in cells if cell.moment == "before the upgrade"]
        words = dict(zip((c.name for c in comers), await asyncio.gather(*(cell.outcome(stays) for cell in comers))))
        await fault.during(scene)
        await fault.lift(scene)
        others = [cell for cell in cells if cell not in comers]
        words |= dict(zip((c.name for c in others), await asyncio.gather(*(cell.outcome(stays) for cell in others))))
    else:
        words = dict(zip((c.name for c in cells), await asyncio.gather(*(cell.outcome(stays) for cell in cells))))
        await fault.during(scene)
        await fault.lift(scene)
    wrong = {str(cell): (words[cell.name], cell.peer and cell.peer.texts[-1:]) for cell in cells if words[cell.name] not in fault.allowed(cell)}
    assert not wrong, f"{fault.name}: {wrong}"
    for cell in cells:
        cell.hush, cell.unanswered = False, []
    await asyncio.gather(*(cell.finish(gateway) for cell in cells))


async def look_for_losses(scene):
    """What a station holds an acknowledgement of is there, once."""
    facts = scene.facts()
    lost = []
    for cell in scene.cells:
        assert len(cell.acknowledged) == 4, cell
        # In 1.6, it is the answer that names the transaction.
        if cell.version == "1.6":
            lost += [] if (cell.name, cell.number) in facts else [f"{cell}: the answer to its start is not there"]
        # Authorize is no fact.
        lost += [f"{cell}: {message_id} is there {facts.get((cell.name, message_id), 0)} times" for message_id in cell.acknowledged[1:] if facts.get((cell.name, message_id)) != 1]  # fmt: skip
    return lost


def look_for_leaks(scene):
    """No card in anything that the central system got, nor on the disk, nor in the log; and each card has one code there."""
    leaked = [found for text in scene.csms.saw() for found in scene.secrets.find(text)]
    output = scene.gateway.output()
    assert "panicked" not in output, output[-3000:]
    files = dict(scene.gateway.files()) | {"its output": output.encode(), "its metrics": scene.gateway.get("/metrics")[1].encode()}
    leaked += [(place, found) for place, content in files.items() for found in scene.secrets.find_as_written(content)]
    assert not leaked, leaked[:5]
    codes = set(re.findall(PSEUDONYM, "\n".join(scene.csms.wire)))
    assert len(codes) == len(scene.cells), "a card has another code after the fault"
    return leaked


async def test_a_log_that_cannot_be_written_ends_no_connection(gateway, station):
    """Saying on stderr, on the same full disk, that a line of the log is lost panicked, and took the connection with it."""
    limit(gateway, resource.RLIMIT_FSIZE, 0)
    peer = await station()
    await peer.asks("Heartbeat", {})
    limit(gateway, resource.RLIMIT_FSIZE, None)
    assert gateway.get("/readyz")[0] == 200
    await peer.asks("Heartbeat", {})


def told(words):
    return words.replace("stays", "untouched").replace("end", "the connection ends").replace(" | ", " or ")


def test_the_table_of_the_docs_is_what_ran():
    assert rows, "this test only looks at the ones before it"
    head = "| fault | cells | about to be upgraded | idle | CALL outstanding | facts lost | leaks |\n|---|---|---|---|---|---|---|\n"
    before, _, rest = PAGE.read_text().partition("<!-- faults -->\n")
    table, _, after = rest.partition("<!-- end of faults -->")
    if os.environ.get("SLUIS_FAULTS") == "write":
        PAGE.write_text(f"{before}<!-- faults -->\n{head}{''.join(rows[fault.name] + chr(10) for fault in FAULTS)}<!-- end of faults -->{after}")
        return
    documented = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    assert list(documented) == [fault.name for fault in FAULTS], "SLUIS_FAULTS=write pytest tests/interop/test_faults.py writes the table anew"
    for name, row in rows.items():
        assert documented[name] == row, "SLUIS_FAULTS=write pytest tests/interop/test_faults.py writes the table anew"
