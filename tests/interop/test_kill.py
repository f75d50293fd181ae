"""kill -9 at random instants under load: no pseudonym the CSMS saw is lost, nothing clear is left on disk, nothing leaks.

SLUIS_KILLS sets how often (100 unless told), SLUIS_SEED repeats a run.
"""

import asyncio
import contextlib
import json
import os
import random
import re

import pytest
import websockets

import leaks
import world
from conftest import PSEUDONYM

KILLS = int(os.environ.get("SLUIS_KILLS", "100"))
SEED = int(os.environ.get("SLUIS_SEED") or random.SystemRandom().randrange(2**32))
STATIONS = 4
NOW = "2026-11-24T10:00:00Z"


class Load:
    """Stations that read fresh cards and charge, and what became known of their cards."""

    def __init__(self, rng, csms):
        self.rng = rng
        self.csms = csms
        self.cards = leaks.Secrets()
        self.by_meter = {}  # meterStart, unique → the card
        self.pseudonyms = {}  # pseudonym → the card, or None if the CSMS cannot tell
        self.acknowledged = 0
        self._read = 0

    def fresh_card(self):
        while True:
            card = "04" + "".join(self.rng.choice("0123456789ABCDEF") for _ in range(12))
            if card not in self.cards:
                self.cards.plant(card, "a card that was read")
                return card

    async def charge(self, station):
        """Transaction after transaction, until the connection breaks."""
        while True:
            card = self.fresh_card()
            await station.asks("Authorize", {"idTag": card})
            if self.rng.random() < 0.3:
                continue
            meter = len(self.by_meter)
            self.by_meter[meter] = card
            await station.asks("StartTransaction", {"connectorId": 1, "idTag": card, "meterStart": meter, "timestamp": NOW})
            sample = {"value": str(meter), "context": "Transaction.Begin"}
            await station.asks("MeterValues", {"connectorId": 1, "transactionId": meter, "meterValue": [{"timestamp": NOW, "sampledValue": [sample]}]})
            await station.asks("StopTransaction", {"transactionId": meter, "idTag": card, "meterStop": meter + 9, "timestamp": NOW})
            self.acknowledged += 1

    def look_up(self):
        """Reads what the CSMS received since the last look: gives the pseudonyms that are new to it."""
        fresh = set()
        received = self.csms.wire[self._read :]
        self._read += len(received)
        for text in received:
            leaked = self.cards.find(text)
            assert not leaked, f"the CSMS saw {leaked} in {text[:500]}"
            for pseudonym in re.findall(PSEUDONYM, text):
                if pseudonym not in self.pseudonyms:
                    self.pseudonyms[pseudonym] = None
                    fresh.add(pseudonym)
            start = re.search(r'"StartTransaction"', text) and json.loads(text)
            if start:
                self.pseudonyms[start[3]["idTag"]] = self.by_meter[start[3]["meterStart"]]
        return fresh


@pytest.mark.timeout(600)
async def test_a_gateway_that_is_killed_loses_nothing_and_leaks_nothing(gateway, csms):
    rng = random.Random(SEED)
    load = Load(rng, csms)
    csms.answers = lambda action, payload: {
        "Authorize": {"idTagInfo": {"status": "Accepted"}},
        "StartTransaction": {"transactionId": payload.get("meterStart", 0), "idTagInfo": {"status": "Accepted"}},
        "StopTransaction": {},
        "MeterValues": {},
        "Heartbeat": {"currentTime": NOW},
    }[action]  # fmt: skip
    try:
        for kill in range(KILLS):
            await charge_until_killed(rng, gateway, csms, load)
            await gateway.start()
            fresh = load.look_up()
            await all_are_restored(gateway, csms, load, fresh)
            if kill % 10 == 0:
                scan_files(gateway, load)
        assert load.acknowledged > KILLS // 2, "there was hardly any load"
        await all_are_restored(gateway, csms, load, set(load.pseudonyms))
        restored = [card for card in load.pseudonyms.values() if card]
        assert len(set(restored)) == len(restored) == len(load.pseudonyms), "two pseudonyms stand for one card"
        scan_files(gateway, load)
        await asyncio.to_thread(gateway.stop)
        scan_files(gateway, load)
    except BaseException as error:
        error.add_note(f"repeat with SLUIS_SEED={SEED} SLUIS_KILLS={KILLS}")
        raise


async def charge_until_killed(rng, gateway, csms, load):
    """The stations come one after the other, so the kill also falls among handshakes."""

    async def work(number):
        with contextlib.suppress(OSError, websockets.WebSocketException, EOFError):
            station = await world.dial(gateway.url(f"CS-{number}"))
            try:
                await load.charge(station)
            finally:
                await station.close()

    tasks = [asyncio.create_task(work(number)) for number in range(STATIONS)]
    # The instant of the kill is the one thing here that is chosen by the clock.
    await asyncio.sleep(rng.uniform(0.005, 0.35))
    gateway.kill()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    # What was on its way to the CSMS has arrived once its connections have ended.
    for peers in csms.peers.values():
        for peer in peers:
            await peer.is_closed()
    csms.peers.clear()


async def all_are_restored(gateway, csms, load, pseudonyms):
    """The CSMS starts a charge for each pseudonym: the station must be told the card."""
    if not pseudonyms:
        return
    station = await world.dial(gateway.url("CS-restore"))
    upper = await csms.conversation("CS-restore")
    ordered = sorted(pseudonyms)
    for at in range(0, len(ordered), 50):
        some = ordered[at : at + 50]
        before = len(station.calls)
        answers = await asyncio.gather(*(upper.call("RemoteStartTransaction", {"idTag": pseudonym}) for pseudonym in some))
        told = [frame[3]["idTag"] for frame in station.calls[before:]]
        lost = [pseudonym for pseudonym, answer in zip(some, answers) if json.loads(answer)[0] != 3 or json.loads(answer)[2] != {"status": "Accepted"}]
        assert not lost and len(told) == len(some), f"{len(some) - len(told)} pseudonyms that the CSMS saw cannot be restored: {lost[:5]}"
        for pseudonym, card in zip(some, told):
            assert card in load.cards, f"{pseudonym} was restored as {card}, which no station ever read"
            assert load.pseudonyms[pseudonym] in (None, card), f"{pseudonym} was restored as {card} instead of {load.pseudonyms[pseudonym]}"
            load.pseudonyms[pseudonym] = card
    await station.close()
    await upper.is_closed()
    csms.peers.clear()


def scan_files(gateway, load):
    places = dict(gateway.files()) | {"its output": gateway.output().encode()}
    for place, content in places.items():
        found = load.cards.find_in_file(content)
        assert not found, f"{place} holds {found[:3]}"
