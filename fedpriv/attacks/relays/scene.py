"""What every attack on the relays finds: services on sockets, pictures with their right answers, victims."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Protocol

import aiohttp
import numpy as np
from numpy.typing import NDArray

from fedpriv.attacks.relays.honest import Honest
from fedpriv.attacks.relays.memory import Memory, watched
from fedpriv.attacks.relays.said import Said, read_said
from fedpriv.attacks.relays.tally import Account, Counters
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.relays.plan import Layout, Plan
from fedpriv.relays.settings import ClientSettings, ModelServerSettings
from fedpriv.services.outgoing import connections
from fedpriv.serving.answers import Answer
from fedpriv.serving.defaults import default_models
from fedpriv.sharing.causes import Cause

SHARES, SESSIONS = "/v1/shares", "/v1/sessions"
MODELS = ("gaze", "emotion")
_PICTURES = 32
_MOST_REPLY_BYTES = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=30.0)


class Services(Protocol):
    """What is attacked: processes, or the weakened constellation of a control."""

    layout: Layout
    plan: Plan

    def restart(self, service: str) -> None:
        """Kill a service, start it again and wait until it answers."""

    def pid(self, service: str) -> int:
        """Return the process of a service."""


class Scene:
    """The services, and the means to speak to them.

    Attributes:
        services: what is attacked.
        honest: the traffic beside the attacks.
        account: of victims, since the last :meth:`mark`.
        patience_s: how long past a service's limit a connection may live before it counts as not ended.
        known_secret: the client's secret, in the control of an attack that has to do without.
        opened_pieces: how many opened pieces colluding relays hold; n in their control, n-1 without.
    """

    def __init__(self, services: Services, honest: Honest, http: aiohttp.ClientSession, seed: int) -> None:
        """Use :func:`scene`."""
        self.services, self.honest, self.http = services, honest, http
        self.random = random.Random(seed)  # noqa: S311 - order and choice of what is sent, no secret
        self.account = Account()
        self.patience_s = 5.0
        self.known_secret = False
        self.opened_pieces: int | None = None
        self._before: Counters | None = None

    @property
    def plan(self) -> Plan:
        """The plan of the services."""
        return self.services.plan

    @cached_property
    def server(self) -> ModelServerSettings:
        """The model server's settings."""
        return ModelServerSettings.read(self.services.layout.settings("model_server"))

    def client(self, name: str) -> ClientSettings:
        """Return the settings of a client, whose relays are the honest ones."""
        return honest_settings(self.services.layout, self.plan, name)

    def url(self, service: str) -> str:
        """Return the URL of a service; relays are ``a``, ``b``..."""
        return self.services.layout.urls[self._full(service)]

    def watch_memory(self, services: Sequence[str]) -> AbstractAsyncContextManager[Memory]:
        """Watch the resident memory of services, all together, as the system counts it."""
        return watched(self.services.pid(self._full(name)) for name in services)

    def _full(self, service: str) -> str:
        return service if service in self.services.layout.urls else f"relay-{service}"

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body; status 0 when the connection ended without a response."""
        given = {"content-type": "application/octet-stream", **(headers or {})}
        try:
            async with self.http.post(
                url, data=body, headers=given, timeout=_TIMEOUT, allow_redirects=False
            ) as reply:
                return reply.status, await reply.content.read(_MOST_REPLY_BYTES)
        except (aiohttp.ClientError, OSError):
            return 0, b""

    async def share(
        self, service: str, envelope: bytes, headers: Mapping[str, str] | None = None, tries: int = 3
    ) -> Said:
        """Send one envelope.

        A ``busy`` that comes sooner than a held piece is told to come again is of a full or restarting
        service, and says nothing of the piece: it is sent again.
        """
        begun = time.monotonic()
        status, body = await self.post(self.url(service) + SHARES, envelope, headers)
        said = read_said(status, body)
        early = time.monotonic() - begun < 0.5 * self.server.hold_s
        if said.label == Cause.BUSY.label and early and tries > 1:
            await asyncio.sleep(0.1)
            return await self.share(service, envelope, headers, tries - 1)
        return said

    async def counters(self) -> Counters:
        """Ask the model server for its account."""
        async with self.http.get(self.url("model_server") + "/metrics", timeout=_TIMEOUT) as reply:
            lines = (await reply.text()).splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        names = (
            'fedpriv_shares_total{outcome="accepted"}',
            "fedpriv_inferred_images",
            "fedpriv_partial_bytes",
            "fedpriv_open_sets",
        )
        return Counters(*(round(float(found.get(name, 0))) for name in names))

    async def mark(self) -> None:
        """Begin the account anew; honest traffic must rest."""
        self.account = Account()
        self.honest.begin()
        self._before = await self.counters()

    async def surplus(self) -> int:
        """Return how many attempts the model server's counters show beyond the honest account, at least.

        Honest traffic must rest. An image that was inferred is one attempt; of pieces that were taken, an
        attempt may have sent up to n. An honest image that was shared again may have been taken in part, or
        inferred, each time: so much is allowed for.
        """
        if self._before is None:
            raise RuntimeError("mark() comes first")
        now, pieces = await self.counters(), self.plan.shares
        honest = self.honest.report
        asked = honest.answered + honest.retries + self.account.asked
        images = now.images - self._before.images - asked - len(self.account.images)
        shares = now.shares - self._before.shares - asked * pieces - len(self.account.shares)
        return max(0, images, -(-shares // pieces))


@asynccontextmanager
async def scene(services: Services, seed: int = 0) -> AsyncIterator[Scene]:
    """Open connections and an honest client; the services run already."""
    images, answers = pictures()
    async with connections(services.layout.ca) as http:
        settings = honest_settings(services.layout, services.plan, "client-0")
        async with Honest(settings, images, answers) as honest:
            yield Scene(services, honest, http, seed)


def honest_settings(layout: Layout, plan: Plan, name: str) -> ClientSettings:
    """Return a client's settings with the relays themselves, past an adversary that sits before one."""
    found = ClientSettings.read(layout.client_settings(name))
    relays = {relay: layout.urls[f"relay-{relay}"] for relay in plan.names}
    return ClientSettings(**{**vars(found), "relays": relays})


_MADE: list[tuple[list[NDArray[np.uint8]], list[Answer]]] = []


def pictures() -> tuple[list[NDArray[np.uint8]], list[Answer]]:
    """Return rendered eyes, (36, 60) uint8 each, and what the served models say of them here."""
    if not _MADE:
        images = [each[0] for each in render_person(0, 0, _PICTURES).images]
        _MADE.append((images, default_models().answer(images, [MODELS] * len(images))))
    return _MADE[0]
