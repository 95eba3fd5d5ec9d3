"""A network namespace for every service, as machines of their own: two bridges, and no way between them.

::

    host ── front ──┬── gateway          host ── back ──┬── model_server
                    ├── adversary                       ├── relay-a
                    ├── relay-a                         ├── relay-b ...
                    └── relay-b ...

Only relays are on both: the gateway has no route to the model server, nor the model server one back. This
shows the topology; it is no cage for a service that runs as root.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fedpriv.errors import UserError
from fedpriv.relays.plan import ADVERSARY, GATEWAY, MODEL_SERVER, Address

PORT = 8080
_NAMESPACES = Path("/run/netns")
_NAME = re.compile(r"fedpriv-(\d{1,10})-(\d{1,20})-[a-z_-]+")
_PAIRS = 256
_HOST, _LONE, _ADVERSARY, _RELAYS = 1, 2, 3, 10
_TIMEOUT_S = 30.0


class Namespaces:
    """The namespaces of one constellation; a context manager.

    Guarantee:
        - Whatever was made is removed when it is left, also when making it fails half way.
        - What a killed process left is removed by the next one: names carry their owner's process id and
          the time at which it started. Nobody else's namespaces are touched.

    Attributes:
        addresses: of every service, for :class:`~fedpriv.relays.plan.Plan`; the host reaches them all.
    """

    def __init__(self, services: Sequence[str]) -> None:
        """Plan; nothing is made."""
        self._services = tuple(services)
        self._owner = f"fedpriv-{os.getpid()}-{_started(os.getpid())}"
        self._links = {"front": f"fp{os.getpid()}f", "back": f"fp{os.getpid()}b"}  # the host's, by network
        self.addresses: dict[str, Address] = {}

    def __enter__(self) -> Self:
        """Make them.

        Raises:
            UserError: it is not allowed here, or there is no ``ip`` command.
        """
        for name in sorted(abandoned()):
            _ip("netns", "del", name)
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove them; their interfaces go with them."""
        self._remove()

    def name(self, service: str) -> str:
        """Return the namespace of a service."""
        return f"{self._owner}-{service}"

    def prefix(self, service: str) -> tuple[str, ...]:
        """Return the command that starts a process in a service's namespace."""
        return (_command(), "netns", "exec", self.name(service))

    def _make(self) -> None:
        front, back = _free_networks()
        places = {name: _places(name) for name in self._services}
        self.addresses = {
            name: Address(f"{front}.{at['front']}" if "front" in at else f"{back}.{at['back']}", PORT)
            for name, at in places.items()
        }
        switch, own = self.name("switch"), self._links
        cables = [(name, net) for name, at in places.items() for net in at]
        _batch(
            *(f"netns add {self.name(each)}" for each in ("switch", *self._services)),
            *(f"link add {link} type veth peer name host-{net} netns {switch}" for net, link in own.items()),
            *(
                f"link add {net} netns {self.name(name)} type veth peer name {number}-{net} netns {switch}"
                for number, (name, net) in enumerate(cables)
            ),
        )
        ports = [*(f"host-{net}" for net in own), *(f"{n}-{net}" for n, (_, net) in enumerate(cables))]
        _batch(
            *(f"link add {net} type bridge" for net in own),
            *(f"link set {port} master {port.partition('-')[2]} up" for port in ports),
            *(f"link set {net} up" for net in own),
            namespace=switch,
        )
        networks = {"front": front, "back": back}
        for name, at in places.items():
            lines = [f"addr add {networks[net]}.{last}/24 dev {net}" for net, last in at.items()]
            _batch(*lines, *(f"link set {each} up" for each in ("lo", *at)), namespace=self.name(name))
        _batch(*(f"addr add {networks[net]}.{_HOST}/24 dev {link}" for net, link in own.items()))
        _batch(*(f"link set {link} up" for link in own.values()))

    def _remove(self) -> None:
        for link in self._links.values():  # they would go with their namespace, but not at once
            _ip("link", "del", link, check=False)
        for name in _found():
            if name.startswith(f"{self._owner}-"):
                _ip("netns", "del", name, check=False)


def abandoned() -> set[str]:
    """Return the namespaces of constellations whose process is gone."""
    found = set()
    for name in _found():
        match = _NAME.fullmatch(name)
        if match is not None and _started(int(match[1])) != match[2]:
            found.add(name)
    return found


def _found() -> list[str]:
    return sorted(each.name for each in _NAMESPACES.iterdir()) if _NAMESPACES.is_dir() else []


def _started(process: int) -> str:
    """Return when a process started, in the system's ticks: process ids are used again; empty when gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _places(service: str) -> dict[str, int]:
    """Return the networks of a service and the last byte of its address in each."""
    if service in (GATEWAY, ADVERSARY):
        return {"front": _LONE if service == GATEWAY else _ADVERSARY}
    if service == MODEL_SERVER:
        return {"back": _LONE}
    last = _RELAYS + ord(service.removeprefix("relay-")) - ord("a")
    return {"front": last, "back": last}


def _free_networks() -> tuple[str, str]:
    """Return the first three bytes of two /24 networks that this host has no route to.

    They are of 198.18.0.0/15, which is set aside for benchmarks between networks (RFC 2544) and is no part
    of the internet.
    """
    routes = _ip("-4", "route", "show", "table", "all")
    for step in range(_PAIRS):
        number = 2 * ((os.getpid() + step) % _PAIRS)
        pair = tuple(f"198.{18 + each // 256}.{each % 256}" for each in (number, number + 1))
        if not any(f"{each}." in routes for each in pair):
            return pair[0], pair[1]
    raise UserError("all of 198.18.0.0/15 is in use")


def _batch(*lines: str, namespace: str | None = None) -> None:
    where = () if namespace is None else ("-netns", namespace)
    _ip(*where, "-batch", "-", lines=lines)


def _ip(*arguments: str, lines: Iterable[str] = (), check: bool = True) -> str:
    try:
        done = subprocess.run(
            [_command(), *arguments],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            start_new_session=True,  # Ctrl-C must not end the clean-up half way
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"ip: {error}") from error
    if check and done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(f"ip: {said[0]}")
    return done.stdout


def _command() -> str:
    found = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise UserError("there is no command ip; install iproute2")
    return found
