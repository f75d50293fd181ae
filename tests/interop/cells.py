"""The cells of the fault matrix: a station of each version at each moment of a charging session, with a central system above it that
answers what it is told to, and what the station gets."""

import asyncio
import contextlib
import json

import websockets

import world

VERSIONS = ["1.6", "2.0.1", "2.1"]
# The moment's name → the step that is outstanding upwards; None: nothing is.
MOMENTS = {"before the upgrade": None, "idle": None, "Authorize": 0, "Start": 1, "MeterValues": 2, "Stop": 3}
# A station that waits longer than this for anything hangs.
DEADLINE = 40.0
STEPS = ["authorize", "start", "meter", "stop"]


class Cell:
    """One station, at one moment of its session. Its CALLs have ids of their own, and are sent again under the same id."""

    def __init__(self, number, version, moment, secrets):
        self.number, self.version, self.moment = number, version, moment
        self.name = f"CS-{number}"
        self.card = f"04{number:02X}{0xC0FFEE0000 + 7919 * (number + 1):010X}"
        secrets.plant(self.card, f"the card of {self.name}")
        self.todo = [(f"m{number}x{n}", *self._message(step)) for n, step in enumerate(STEPS)]
        self.acknowledged = []  # message ids
        self.texts = []  # what the station got
        self.refusals = []  # statuses
        self.peer = self.dialling = self.waiting = self.upper = None
        self.hush = False  # the central system says nothing
        self.unanswered = []  # ids of CALLs that the central system left so

    def _message(self, step):
        at = f"2026-11-24T10:{10 * STEPS.index(step):02d}:00Z"
        sample = {"value": "1000" if self.version == "1.6" else 1000.0, "context": "Transaction.Begin", "measurand": "Energy.Active.Import.Register"}
        meter = [{"timestamp": at, "sampledValue": [sample]}]
        if self.version == "1.6":
            return {
                "authorize": ("Authorize", {"idTag": self.card}),
                "start": ("StartTransaction", {"connectorId": 1, "idTag": self.card, "meterStart": self.number, "timestamp": at}),
                "meter": ("MeterValues", {"connectorId": 1, "transactionId": self.number, "meterValue": meter}),
                "stop": ("StopTransaction", {"transactionId": self.number, "idTag": self.card, "meterStop": 9000, "timestamp": at}),
            }[step]
        token = {"idToken": self.card, "type": "ISO14443"}
        kind, trigger, seq = {"start": ("Started", "Authorized", 0), "meter": ("Updated", "MeterValuePeriodic", 1), "stop": ("Ended", "EVDeparted", 2)}.get(step, ("", "", 0))
        event = {"eventType": kind, "timestamp": at, "triggerReason": trigger, "seqNo": seq, "transactionInfo": {"transactionId": f"tx-{self.number}"}, "meterValue": meter}
        if step == "authorize":
            return "Authorize", {"idToken": token}
        return "TransactionEvent", event | ({"idToken": token, "evse": {"id": 1}} if step == "start" else {})

    # --- the central system's part

    def answer(self, action, payload):
        accepted = {"status": "Accepted"}
        if action == "Authorize":
            return {"idTagInfo": accepted} if self.version == "1.6" else {"idTokenInfo": accepted}
        return {"transactionId": self.number, "idTagInfo": accepted} if action == "StartTransaction" else {}

    async def runs(self, socket):
        """The central system's end of a connection."""
        cell = self

        class Upper(world.Peer):
            async def _take(self, text):
                if cell.hush and text.startswith("[2,"):
                    cell.unanswered.append((json.loads(text)[1], json.loads(text)[2], json.loads(text)[3]))
                else:
                    await super()._take(text)

        self.upper = Upper(socket, self.answer)
        await self.upper.listen()

    async def speaks_up(self):
        """The central system answers what it left unanswered, on the connection that stands."""
        self.hush = False
        for message_id, action, payload in self.unanswered:
            with contextlib.suppress(websockets.ConnectionClosed):
                await self.upper.send([3, message_id, self.answer(action, payload)])
        self.unanswered.clear()

    # --- the station's part

    async def dial(self, gateway):
        peer = await world.dial(gateway.url(self.name), self.version, open_timeout=DEADLINE, close_timeout=5)
        self.peer = peer
        return peer

    async def come_to_moment(self, gateway):
        """Goes on until only its moment is left to come: all steps before it are acknowledged."""
        if self.moment == "before the upgrade":
            return
        await self.dial(gateway)
        for _ in range(MOMENTS[self.moment] or 0):
            assert await self._say() == "CALLRESULT"

    async def act(self, gateway, heard=True):
        """Does what its moment says, and waits until the central system has heard of it and not for an answer."""
        if self.moment == "before the upgrade":
            self.dialling = asyncio.create_task(self.dial(gateway))
        elif MOMENTS[self.moment] is not None:
            self.hush = heard
            self.waiting = asyncio.create_task(self._say())
            if heard:
                await world.eventually(lambda: self.unanswered, f"{self.name}'s {self.moment} at the central system")

    async def _say(self):
        """Sends what is next, and says what came of it; only a CALLRESULT is an acknowledgement."""
        message_id, action, payload = self.todo[0]
        answer = self.peer.expect(message_id)
        closed = asyncio.create_task(self.peer.socket.wait_closed())
        try:
            await self.peer.send([2, message_id, action, payload])
            async with asyncio.timeout(DEADLINE):
                await asyncio.wait([answer, closed], return_when=asyncio.FIRST_COMPLETED)
        except websockets.ConnectionClosed:
            pass
        except TimeoutError:
            raise AssertionError(f"{self} hangs: neither an answer nor an end of the connection within {DEADLINE:.0f} s") from None
        finally:
            closed.cancel()
        if not answer.done() or answer.exception():
            return await self._close()
        frame = json.loads(answer.result())
        if frame[0] == 4:
            return f"CALLERROR {frame[2]}"
        self.acknowledged.append(message_id)
        self.todo.pop(0)
        return "CALLRESULT"

    async def _close(self):
        async with asyncio.timeout(DEADLINE):
            await self.peer.socket.wait_closed()
        return "end" if self.peer.socket.close_code == 1006 else f"close {self.peer.socket.close_code}"

    async def outcome(self, stays):
        """What came of the moment, in a word of a closed list."""
        if self.dialling:
            return await self._upgrade(self.dialling)
        if self.waiting:
            return await self.waiting
        if stays:
            return "stays" if self.peer.socket.state is websockets.State.OPEN else await self._close()
        return await self._close()

    async def _upgrade(self, dialling):
        try:
            async with asyncio.timeout(DEADLINE):
                await dialling
            return "upgrade"
        except websockets.InvalidStatus as refused:
            self.refusals.append(refused.response.status_code)
            return f"HTTP {refused.response.status_code}"
        except TimeoutError:
            raise AssertionError(f"{self} hangs before the upgrade") from None
        except (OSError, websockets.WebSocketException, EOFError):
            return "end"

    async def try_again(self, gateway):
        """One attempt to connect, if there is no connection: what came of it."""
        if self.peer and self.peer.socket.state is not websockets.State.OPEN:
            self.keep()
        if self.peer:
            return "stays"
        return await self._upgrade(asyncio.create_task(self.dial(gateway)))

    async def finish(self, gateway, patience=30.0):
        """As stations do: dials until it may come in, and sends what is not acknowledged until it is."""
        async with asyncio.timeout(patience):
            while self.todo:
                if await self.try_again(gateway) not in ("stays", "upgrade") or await self._say() != "CALLRESULT":
                    # A station's own pause; the shortest that there is.
                    await asyncio.sleep(0.1)
        await self.leave()

    async def leave(self):
        if self.peer:
            await self.peer.close()
            self.keep()

    def keep(self):
        self.texts += self.peer.texts
        self.peer = None

    def __str__(self):
        return f"{self.name} ({self.version}, {self.moment})"
