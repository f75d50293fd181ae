"""The three policies that come with the gateway, seen from outside."""

import re

import pytest

from conftest import PSEUDONYM
from world import dial

CARD = "04A2B3C4D5E6F7"
ENERGY = {"value": "1700", "context": "Sample.Periodic", "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
DRIVING = [
    {"value": "7400", "context": "Sample.Periodic", "measurand": "Power.Active.Import", "unit": "W"},
    {"value": "16", "context": "Sample.Periodic", "measurand": "Current.Import", "unit": "A"},
    {"value": "63", "context": "Sample.Periodic", "measurand": "SoC", "unit": "Percent"},
]


def reading(minute, *samples):
    return {"connectorId": 1, "transactionId": 4711, "meterValue": [{"timestamp": f"2026-11-24T10:{minute:02}:00Z", "sampledValue": list(samples)}]}


@pytest.fixture
async def talk(start_gateway, csms):
    """Starts a gateway with a policy: gives it, a station and the CSMS's end."""
    peers = []

    async def start(policy):
        gateway = await start_gateway(policy=policy)
        peers.append(await dial(gateway.url("CS-1")))
        return gateway, peers[-1], await csms.conversation("CS-1")

    yield start
    for peer in peers:
        await peer.close()


async def test_strict_passes_energy_and_no_driving(talk):
    _, station, upper = await talk("strict")
    await station.asks("MeterValues", reading(0, ENERGY, *DRIVING))
    await station.asks("MeterValues", reading(20, *DRIVING))
    assert upper.received("MeterValues") == [reading(0, ENERGY)], "readings without energy are answered here"


async def test_strict_thins_readings_to_a_quarter_of_an_hour(talk):
    _, station, upper = await talk("strict")
    for minute in (0, 1, 5, 14, 15, 16, 45):
        await station.asks("MeterValues", reading(minute, ENERGY))
    assert upper.received("MeterValues") == [reading(minute, ENERGY) for minute in (0, 15, 45)]


async def test_strict_passes_the_readings_that_a_bill_is_made_of_however_close(talk):
    _, station, upper = await talk("strict")
    bounds = [ENERGY | {"context": "Transaction.Begin"}, ENERGY | {"context": "Transaction.End"}]
    for minute, sample in enumerate(bounds):
        await station.asks("MeterValues", reading(minute, sample))
    assert upper.received("MeterValues") == [reading(minute, sample) for minute, sample in enumerate(bounds)]


async def test_smart_charging_passes_what_load_management_needs(talk):
    _, station, upper = await talk("smart-charging")
    for minute in (0, 1):
        await station.asks("MeterValues", reading(minute, ENERGY, *DRIVING))
    assert upper.received("MeterValues") == [reading(minute, ENERGY, *DRIVING) for minute in (0, 1)]
    await station.asks("Authorize", {"idTag": CARD})
    assert upper.received("Authorize")[0]["idTag"] != CARD


async def test_observe_changes_nothing_and_says_that_it_protects_nobody(talk):
    gateway, station, upper = await talk("observe")
    await station.asks("Authorize", {"idTag": CARD})
    await station.asks("MeterValues", reading(0, ENERGY, *DRIVING))
    assert upper.received("Authorize") == [{"idTag": CARD}]
    assert upper.received("MeterValues") == [reading(0, ENERGY, *DRIVING)]
    await upper.asks("RemoteStartTransaction", {"idTag": CARD})
    assert station.received("RemoteStartTransaction") == [{"idTag": CARD}]
    for place in (gateway.get("/healthz")[1], gateway.get("/metrics")[1], gateway.output()):
        assert "observe" in place
        assert CARD not in place


@pytest.mark.parametrize("policy", ["strict", "smart-charging"])
async def test_no_policy_but_observe_lets_a_card_through(talk, csms, policy):
    _, station, upper = await talk(policy)
    await station.asks("Authorize", {"idTag": CARD})
    assert not any(CARD in text for text in csms.saw())
    assert re.fullmatch(PSEUDONYM, upper.received("Authorize")[0]["idTag"])
