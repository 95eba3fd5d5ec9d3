"""The same services in this process, so that one defence can be taken away: the controls of the matrix."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import uvicorn

from fedpriv.relays.keys import make_folder
from fedpriv.relays.plan import Plan, role_of
from fedpriv.relays.serve import ROLES
from fedpriv.services.running import server

_START_S = 60.0


def weakened_plan() -> Plan:
    """Return a plan whose times and bounds are short: a control is there to be broken, and quickly."""
    return Plan(
        adversary=True,
        clients=3,
        server={
            "max_client_bytes": 1 << 18,
            "set_timeout_s": 2.5,
            "retention_s": 0.3,
            "hold_s": 0.3,
        },
        client={"share_s": 2.0, "timeout_s": 6.0},
        limits={"header_s": 0.5, "body_s": 0.5},
    )


class Weakened:
    """A constellation on real sockets in a thread's event loop; a context manager.

    Attributes:
        layout: files and URLs.
        plan: what it is made of.
        apps: by name of service.
        on_restart: what happens instead of a restart, in the services' loop.
    """

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        """Make keys and settings; nothing is started."""
        self.plan = plan or weakened_plan()
        self.layout = make_folder(folder, self.plan)
        self.apps: dict[str, Any] = {}
        self.on_restart: Callable[[], None] | None = None
        self._servers: dict[str, tuple[uvicorn.Server, asyncio.Task[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Start all services."""
        self._threads = torch.get_num_threads()
        self._thread.start()
        try:
            for service in self.plan.services:
                self._start(service)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop them."""
        for service in list(self._servers):
            self._stop(service)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        torch.set_num_threads(self._threads)

    def pid(self, service: str) -> int:
        """Return the process of a service: this one."""
        return os.getpid()

    def restart(self, service: str) -> None:
        """Stop a service and start it at its address again, or do what the control does instead."""
        if self.on_restart is not None:
            self._call(_called(self.on_restart))
            return
        self._stop(service)
        self._start(service)

    def _start(self, service: str) -> None:
        app, settings = ROLES[role_of(service)](self.layout.settings(service))
        running = server(app, settings)

        async def begin() -> asyncio.Task[None]:
            task = asyncio.create_task(running.serve())
            while not running.started and not task.done():
                await asyncio.sleep(0.005)
            return task

        self.apps[service] = app
        self._servers[service] = running, self._call(begin())
        if not running.started:
            raise RuntimeError(f"{service}: did not start")

    def _stop(self, service: str) -> None:
        running, task = self._servers.pop(service)
        running.should_exit = True

        async def end() -> None:
            await task

        self._call(end())

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)


async def _called(work: Callable[[], None]) -> None:
    work()
