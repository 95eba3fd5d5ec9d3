"""A whole constellation as processes: model server, relays, gateway, and an adversary if wanted."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fedpriv.errors import UserError
from fedpriv.relays.keys import make_folder
from fedpriv.relays.plan import Layout, Plan, role_of
from fedpriv.services.outgoing import healthy

HEALTH_S = 60.0
_STOP_S = 15.0
_PAUSE_S = 0.05


class Constellation:
    """Starts the services of a plan and stops them; a context manager.

    Guarantee:
        - :meth:`start` returns when every service answers on /healthz, or stops what it started.
        - When it is left, no process stays behind; when this process is killed, the services notice
          within a second or two and end.
        - Nothing secret is in arguments or environment.

    Attributes:
        plan: what it is made of.
        layout: files and URLs, once started.
    """

    layout: Layout

    def __init__(
        self, folder: Path, plan: Plan | None = None, prefix: Callable[[str], Sequence[str]] | None = None
    ) -> None:
        """Plan; nothing is started.

        Args:
            folder: for keys, settings and logs; see :func:`fedpriv.relays.keys.make_folder`.
            plan: the default one without.
            prefix: command that the process of a service is started with, e.g. in a network namespace.
        """
        self.plan = plan or Plan()
        self._folder, self._prefix = folder.absolute(), prefix
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def urls(self) -> dict[str, str]:
        """URL of every service."""
        return dict(self.layout.urls)

    def start(self) -> None:
        """Make keys and settings, start all services and wait until they answer.

        Raises:
            UserError: one does not start; with the last line of its log.
        """
        self.layout = make_folder(self._folder, self.plan)
        try:
            for service in self.plan.services:
                self._spawn(service)
            for service in self.plan.services:
                self._wait(service)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all services: requests under way first, what does not end in time by force."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + _STOP_S
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def pid(self, service: str) -> int:
        """Return the process of a service."""
        return self._processes[service].pid

    def kill(self, service: str) -> None:
        """End a service at once (SIGKILL)."""
        self._processes[service].kill()
        self._processes[service].wait()

    def terminate(self, service: str) -> None:
        """End a service gracefully (SIGTERM)."""
        self._processes[service].terminate()
        self._processes[service].wait(_STOP_S)

    def restart(self, service: str) -> None:
        """Start a service again at its address, killing it first if it runs; wait until it answers."""
        if self._processes[service].poll() is None:
            self.kill(service)
        self._spawn(service)
        self._wait(service)

    def log(self, service: str) -> str:
        """Return what a service logged."""
        with contextlib.suppress(OSError):
            return self.layout.log(service).read_text(errors="replace")
        return ""

    def ended(self) -> str | None:
        """Return the name of a service that ended by itself, or None."""
        return next((name for name, each in self._processes.items() if each.poll() is not None), None)

    def _spawn(self, service: str) -> None:
        command = [
            *(self._prefix(service) if self._prefix else ()),
            *(sys.executable, "-P", "-m", "fedpriv.relays.serve", role_of(service)),
            *("--settings", str(self.layout.settings(service)), "--with-parent", str(os.getpid())),
        ]
        with self.layout.log(service).open("ab") as log:
            self._processes[service] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which ends them in order
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def _wait(self, service: str) -> None:
        until = time.monotonic() + HEALTH_S
        while not healthy(self.layout.urls[service], self.layout.ca):
            if self._processes[service].poll() is not None:
                raise UserError(f"{service}: ended at its start: {self._last_line(service)}")
            if time.monotonic() >= until:
                raise UserError(f"{service}: did not answer within {HEALTH_S:.0f} s; see its log")
            time.sleep(_PAUSE_S)

    def _last_line(self, service: str) -> str:
        lines = self.log(service).strip().splitlines() or ["it logged nothing"]
        return lines[-1].removeprefix("fedpriv: ")
