"""The network between the gateway and the central system, which has its days."""

import asyncio
import contextlib
import socket
import struct

# The beginning of a text message of 4096 bytes, and not the rest.
HALF_A_FRAME = b"\x81\x7e\x10\x00[3,"


class Weather:
    """A relay of bytes on a port of its own. Everything it does to connections it does to all of them."""

    def __init__(self, target):
        self.target = target
        self.port = None
        self.tried = 0  # connections that were accepted
        self.greeting = None  # in place of the central system, these bytes
        self._dead = False  # accepts and says nothing
        self._server = None
        self._flow = asyncio.Event()
        self._flow.set()
        self._links = []

    async def start(self):
        await self.clear()
        return self

    async def clear(self):
        """The sun shines."""
        self._dead, self.greeting = False, None
        self._flow.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port or 0, backlog=1000)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self):
        """Nobody listens any more; connections that stand stay."""
        if self._server:
            self._server.close()
            self._server = None

    def hang(self):
        """Connections stand, new ones are accepted, and not a byte passes."""
        self._dead = True
        self._flow.clear()

    async def reset(self, first=b""):
        """Connections break, after some last bytes to the gateway."""
        for _, gateway, csms in self._links:
            gateway.write(first)
            with contextlib.suppress(ConnectionError):
                await gateway.drain()
            for end in (gateway, csms):
                # Without lingering, closing resets.
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.transport.abort()
        self._links.clear()

    def half_close(self):
        """The gateway hears that nothing more will come, and may go on talking."""
        for _, gateway, _ in self._links:
            with contextlib.suppress(OSError):
                gateway.write_eof()
        self._links.clear()

    async def _link(self, reader, writer):
        self.tried += 1
        if self.greeting is not None:
            writer.write(self.greeting)
            with contextlib.suppress(OSError):
                await writer.drain()
                writer.close()
            return
        if self._dead:
            await self._flow.wait()
        try:
            upper, lower = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._links.append((reader, writer, lower))
        await asyncio.gather(self._pump(reader, lower), self._pump(upper, writer))

    async def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flow.wait()
                sink.write(data)
                await sink.drain()
            await self._flow.wait()
            sink.close()

    async def stop(self):
        await self.refuse()
        for _, gateway, csms in self._links:
            gateway.transport.abort()
            csms.transport.abort()
