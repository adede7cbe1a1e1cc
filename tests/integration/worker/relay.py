"""An address of a server that can be away: nobody listens there until the relay is opened."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from services.local.state import HOST, free_ports


class Relay:
    """Passes bytes on to a server, from another port of this machine."""

    def __init__(self, url):
        self._target = urlsplit(url)
        [self._port] = free_ports(1)
        self._server = None
        self.url = f"http://{HOST}:{self._port}"

    async def open(self):
        """Let the server be there."""
        self._server = await asyncio.start_server(self._serve, HOST, self._port)

    async def close(self):
        """Let it be away, for new connections."""
        if self._server:
            self._server.close()

    async def _serve(self, reader, writer):
        other = await asyncio.open_connection(self._target.hostname, self._target.port)
        await asyncio.gather(_pass_on(reader, other[1]), _pass_on(other[0], writer))


async def _pass_on(reader, writer):
    with contextlib.suppress(ConnectionError):
        while some := await reader.read(2**16):
            writer.write(some)
            await writer.drain()
    writer.close()
