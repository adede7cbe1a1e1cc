"""A TCP proxy between services and a server, that can refuse, cut, and hold connections."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any


class Proxy:
    """Listens on a port of its own and passes everything on, in a thread of its own."""

    def __init__(self, target_port: int, address: str = "127.0.0.1") -> None:
        self._target_port = target_port
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self.port = self._run(self._listen(0))

    def refuse(self) -> None:
        """Cut every connection, and let nobody connect."""
        self._run(self._refuse())

    def cut(self) -> None:
        """Cut every connection; new ones are welcome."""
        self._run(self._cut())

    def hold(self) -> None:
        """Pass nothing on, and keep the connections: the network has silently gone."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def restore(self) -> None:
        """Pass everything on again."""
        self._run(self._restore())

    def close(self) -> None:
        """End it."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self, port: int) -> int:
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, self._address, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def _restore(self) -> None:
        self._flows.set()
        if self._server is None:
            await self._listen(self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _end(self) -> None:
        await self._refuse()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in list(self._writers):
            # With a reset, so that no unsent byte arrives later.
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                linger = (1).to_bytes(4, "little") + bytes(4)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_server[1]}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._pass_on(reader, to_server[1]), self._pass_on(to_server[0], writer)
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(65536):
                await self._flows.wait()
                writer.write(content)
                await writer.drain()
        writer.close()
