"""A whole constellation in this process: the real applications on real sockets, in a thread's event loop."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import torch
import uvicorn

from fedpriv.relays.client import RelayClient
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.keys import make_folder
from fedpriv.relays.plan import Plan, role_of
from fedpriv.relays.serve import ROLES
from fedpriv.relays.settings import ClientSettings
from fedpriv.services.running import server


class Running:
    """Starts services on free ports; each can be stopped and started again at its port."""

    def __init__(self, folder: Path, plan: Plan, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.plan = plan
        self.layout = make_folder(folder, plan)
        self.apps: dict[str, Any] = {}
        self._servers: dict[str, tuple[uvicorn.Server, Any]] = {}
        self._loop = loop or asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Running":
        self._threads = torch.get_num_threads()
        self._thread.start()
        for service in self.plan.services:
            self.start(service)
        return self

    def __exit__(self, *_: object) -> None:
        for service in list(self._servers):
            self.stop(service)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        torch.set_num_threads(self._threads)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def start(self, service: str) -> None:
        app, settings = ROLES[role_of(service)](self.layout.settings(service))
        running = server(app, settings)

        async def begin() -> Any:
            task = asyncio.ensure_future(running.serve())
            while not running.started and not task.done():
                await asyncio.sleep(0.005)
            assert running.started, service
            return task

        self.apps[service] = app
        self._servers[service] = running, self.call(begin())

    def stop(self, service: str) -> None:
        running, task = self._servers.pop(service)
        running.should_exit = True

        async def end() -> None:
            await task

        self.call(end())

    def client(self, name: str = "client-0", **changes: Any) -> RelayClient:
        return RelayClient(client_settings(self.layout, name, **changes))


def client_settings(layout: Any, name: str = "client-0", **changes: Any) -> ClientSettings:
    import dataclasses

    return dataclasses.replace(ClientSettings.read(layout.client_settings(name)), **changes)


__all__ = ["Constellation", "Running", "client_settings"]
