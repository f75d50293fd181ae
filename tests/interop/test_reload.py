"""The configuration is read again on SIGHUP, as a whole or not at all: new connections go by it, those that stand go on as they began, and no
frame is lost."""

import asyncio
import signal

import pytest

import world
from world import eventually

NEEDS = {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": {"energyAmount": 1000, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 400}}}  # fmt: skip


def config(upstream, policy="strict", listen="", more=""):
    return f'policy = "{policy}"\n{listen}[upstream]\nurl = "{upstream}"\n[limits]\nstation_handshakes_per_minute = 0\n{more}'


@pytest.fixture
async def running(tmp_path, csms):
    """A gateway that has everything but its addresses from its file."""
    gateway = world.Gateway(tmp_path, None, policy=None, config=config(csms.url))
    yield await gateway.start()
    await asyncio.to_thread(gateway.stop)


async def reload(gateway, text, says):
    before = gateway.output().count(says)
    (gateway.directory / "sluis.toml").write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    await eventually(lambda: gateway.output().count(says) > before, f"the log to say {says!r}")


NEW, KEPT = "new connections go by it", "what was read before stays in force"


async def test_a_new_policy_is_for_new_connections_and_none_loses_a_frame(running, csms):
    old = await world.dial(running.url("CS-old"), "2.0.1")
    await old.asks("NotifyEVChargingNeeds", NEEDS)
    above = await csms.conversation("CS-old")
    assert not above.received("NotifyEVChargingNeeds"), "strict keeps it here"
    stop, sent = asyncio.Event(), []

    async def load(number):
        station = await world.dial(running.url(f"CS-{number}"), "1.6")
        while not stop.is_set():
            message_id = station.new_id()
            sent.append((number, message_id))
            await station.asks("Heartbeat", {}, message_id=message_id)
        return station

    loads = [asyncio.create_task(load(number)) for number in range(8)]
    for turn in range(4):
        await eventually(lambda: len(sent) > 200 * (turn + 1), "load")
        await reload(running, config(csms.url, "smart-charging" if turn % 2 == 0 else "strict"), NEW)
    await reload(running, config(csms.url, "smart-charging"), NEW)
    await eventually(lambda: len(sent) > 1200, "load after the last reload")
    stop.set()
    stations = await asyncio.gather(*loads)
    assert len(csms.handshakes) == 9, "a connection was made anew"
    arrived = sum(len(peers[0].received("Heartbeat")) for name, peers in csms.peers.items() if name != "CS-old")
    assert arrived == len(sent)
    await old.asks("NotifyEVChargingNeeds", NEEDS)
    assert not above.received("NotifyEVChargingNeeds"), "a connection that stands goes by the policy that it began with"
    new = await world.dial(running.url("CS-new"), "2.0.1")
    await new.asks("NotifyEVChargingNeeds", NEEDS)
    assert (await csms.conversation("CS-new")).received("NotifyEVChargingNeeds") == [NEEDS]
    for station in [old, new, *stations]:
        await station.close()


async def test_a_new_central_system_is_for_new_connections(running, csms):
    other = await world.Csms().start()
    try:
        station = await world.dial(running.url("CS-1"))
        await reload(running, config(other.url), NEW)
        await station.asks("Heartbeat", {})
        second = await world.dial(running.url("CS-2"))
        await second.asks("Heartbeat", {})
        assert (list(csms.peers), list(other.peers)) == (["CS-1"], ["CS-2"])
        await station.close()
        await second.close()
    finally:
        await other.stop()


async def test_times_and_bounds_change_for_new_connections(running, csms):
    old = await world.dial(running.url("CS-old"))
    big = ["Heartbeat", {"customData": "x" * 2000}]
    await reload(running, config(csms.url, more="[stations]\nmax_frame_bytes = 1024\n"), NEW)
    await old.call(*big)
    new = await world.dial(running.url("CS-new"))
    await new.send([2, "m", *big])
    assert await new.is_closed() == 1009
    await old.asks("Heartbeat", {})
    await old.close()


async def test_a_mistake_anywhere_changes_nothing_and_all_are_told(running, csms):
    wrong = config("ws://127.0.0.1:1/none", "smart-charging", more="[stations]\nping_seconds = 4711000\n[frames]\nburst = 1\n[nonsense]\nx = 1\n")
    await reload(running, wrong, KEPT)
    await eventually(lambda: running.output().count(KEPT) == 3, "each mistake to be told")
    told = running.output()
    assert all(key in told for key in ("stations.ping_seconds", "frames.burst", "nonsense.x")) and "4711000" not in told
    # What only shows when files are read counts as well.
    await reload(running, config("ws://127.0.0.1:1/none", "smart-charging", more='[tls]\ncertificates = ["none.pem"]\nkeys = ["none.key"]\n'), KEPT)
    (running.directory / "sluis.toml").unlink()
    running.process.send_signal(signal.SIGHUP)
    await eventually(lambda: 'sluis_reloads_total{what="config",outcome="kept"} 3' in running.get("/metrics")[1], "a missing file to be told")
    assert "cannot be read" in running.output()
    station = await world.dial(running.url("CS-1"), "2.0.1")
    await station.asks("NotifyEVChargingNeeds", NEEDS)
    assert not (await csms.conversation("CS-1")).received("NotifyEVChargingNeeds")
    metrics = running.get("/metrics")[1]
    assert 'sluis_policy_info{policy="strict"} 1' in metrics
    await station.close()


async def test_what_only_a_restart_changes_is_told_and_the_rest_is_in_force(running, csms):
    await reload(running, config(csms.url, "smart-charging", more="dials = 7\n[journal]\nkeep_days = 30\n"), NEW)
    told = [line for line in running.output().splitlines() if "only a restart" in line]
    assert len(told) == 2 and '"limits"' in told[0] and '"journal"' in told[1], told
    assert 'sluis_policy_info{policy="smart-charging"} 1' in running.get("/metrics")[1]


async def test_a_plain_way_that_was_not_allowed_at_the_start_is_not_taken(running, csms):
    await reload(running, "allow_plaintext = true\n" + config("ws://csms.invalid:9/csms"), NEW)
    told = [line for line in running.output().splitlines() if "only a restart" in line]
    assert len(told) == 2 and '"allow_plaintext"' in told[0] and '"upstream"' in told[1], told
    station = await world.dial(running.url("CS-1"))
    await station.asks("Heartbeat", {})
    await station.close()


async def test_a_reload_right_after_the_start_does_not_end_the_gateway(tmp_path, csms):
    """Signals were only listened for once the ports were open, and until then SIGHUP ends a process."""
    for number in range(10):
        directory = tmp_path / str(number)
        directory.mkdir()
        gateway = world.Gateway(directory, None, policy=None, config=config(csms.url))
        gateway.spawn()
        try:
            await eventually(lambda: "sluis is open" in gateway.output(), "the gateway to say that it is open", pause=0.0002)
            gateway.process.send_signal(signal.SIGHUP)
            await eventually(lambda: NEW in gateway.output() or gateway.process.poll() is not None, "the reload")
            assert gateway.process.poll() is None, "SIGHUP ended it"
        finally:
            await asyncio.to_thread(gateway.stop)
