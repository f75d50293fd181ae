"""The fixtures: `csms`, `gateway` and `station`, each the real thing on real sockets."""

import asyncio
import random

import pytest
from websockets.protocol import State

import world

PSEUDONYM = r"Z[0-9][0-9A-HJKMNP-TV-Z]{18}"


@pytest.fixture
async def csms():
    """A central system, listening."""
    csms = await world.Csms().start()
    yield csms
    await csms.stop()


@pytest.fixture
async def start_gateway(tmp_path, csms):
    """Starts gateways with the given options below the CSMS."""
    started = []

    async def start(**options):
        directory = tmp_path / f"gateway{len(started)}"
        directory.mkdir()
        gateway = world.Gateway(directory, csms.url, **options)
        started.append(gateway)
        return await gateway.start()

    yield start
    for gateway in started:
        # In a thread, so that the CSMS can take part in the goodbyes.
        await asyncio.to_thread(gateway.stop)


@pytest.fixture
async def gateway(start_gateway):
    """The gateway, ready, with the strict policy and no configuration file."""
    return await start_gateway()


@pytest.fixture
async def station(gateway):
    """Connects stations to the gateway: `await station("CS-1", "1.6")`."""
    connected = []

    async def connect(name="CS-1", version="1.6", **options):
        peer = await world.dial(gateway.url(name), version, **options)
        connected.append(peer)
        return peer

    yield connect
    for peer in connected:
        if peer.socket.state is not State.CLOSED:
            await peer.close()


@pytest.fixture
def rng(request):
    """Randomness that is the same in every run of a test."""
    return random.Random(request.node.nodeid)
