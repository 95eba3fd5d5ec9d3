"""The client: sessions opened when needed, many images at once, one answer or one clear error for each."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.relays.attempt import UNREACHABLE, Attempt, Traffic
from fedpriv.relays.courier import Courier
from fedpriv.relays.sessions import Sessions, Unanswered, mend, now_ms
from fedpriv.relays.settings import ClientSettings
from fedpriv.services.outgoing import connections
from fedpriv.serving.answers import Answer, decode_answer
from fedpriv.serving.image import check_image
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.session import ClientSession, SealedImage

__all__ = ["Asked", "RelayClient", "Unanswered"]

MOST_ATTEMPTS = 8
_PAUSE_S = 0.1
_SETTLE_S = 0.005
_TLS_ENDS_S = 0.1


@dataclass(frozen=True)
class Asked:
    """An answered image.

    Attributes:
        answer: authentic: sealed by the model server to this image.
        number: the image's in its session.
        attempts: how often it was shared.
        seconds: from the call to the answer.
        traffic: bytes of envelopes and records, retries included; HTTP's own not. The answer comes with
            the first of its records: the others are counted when they come, see :meth:`RelayClient.settle`.
        relays: that its shares went through.
    """

    answer: Answer
    number: int
    attempts: int
    seconds: float
    traffic: Traffic
    relays: tuple[str, ...]

    @property
    def sent_bytes(self) -> int:
        """Of envelopes."""
        return self.traffic.sent_bytes

    @property
    def received_bytes(self) -> int:
        """Of records, so far."""
        return self.traffic.received_bytes


class RelayClient:
    """Asks the model server through the relays; ``async with``, in one event loop.

    Guarantee:
        - An answer is the server's to this very image; nothing that a relay says can change it.
        - :meth:`ask` ends after ``timeout_s`` at the latest, with an answer or :class:`Unanswered`.
        - When the server lost the session, a new one is opened and the image shared anew in it.
        - Relays that failed lately are left out, where the others are enough, see :class:`Faults`.
    """

    def __init__(self, settings: ClientSettings) -> None:
        """Read the secret.

        Raises:
            UserError: settings or secret are not usable.
        """
        self.settings = settings
        self._sessions = Sessions(settings)
        self._couriers: dict[str, Courier] = {}
        self._found = Cause.WINDOW_FULL.label, "others wait for their answers"

    async def __aenter__(self) -> Self:
        """Make ready; nothing is sent yet."""
        self._http = connections(self.settings.ca)
        self._sessions.begin(self._http)
        self._sealing, self._progress = asyncio.Lock(), asyncio.Event()
        self._under_way: dict[bytes, int] = {}
        most = self.settings.upstream_requests
        self._couriers = {
            name: Courier(self._http, f"{url.rstrip('/')}/v1/shares", most_requests=most)
            for name, url in self.settings.relays.items()
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await asyncio.gather(*(courier.close() for courier in self._couriers.values()))
        await self._http.close()
        if any(url.startswith("https:") for url in self.settings.relays.values()):
            await asyncio.sleep(_TLS_ENDS_S)  # aiohttp returns before TLS connections have said good-bye

    def courier(self, relay: str) -> Courier:
        """Return what sends single envelopes to a relay, for who wants no retries."""
        return self._couriers[relay]

    async def ask(self, image: NDArray[np.uint8], models: Sequence[str] = ("gaze", "emotion")) -> Asked:
        """Ask about one image; call it many times at once.

        Args:
            image: (height, width) uint8 grey.
            models: what to ask for.

        Raises:
            UserError: the image or the models cannot be asked for.
            Unanswered: every retry is used up.
        """
        check_image(image)
        begun, traffic = time.perf_counter(), Traffic()
        broken: ClientSession | None = None
        attempt: Attempt | None = None
        found: tuple[str, str] | None = None
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                for attempts in range(1, MOST_ATTEMPTS + 1):
                    session, sealed = await self._seal(image, models, broken)
                    attempt = Attempt(
                        session,
                        sealed,
                        self._couriers,
                        self.settings.share_s,
                        self._sessions.faults,
                        traffic,
                    )
                    try:
                        result = await attempt.result
                    finally:
                        attempt.close()
                        self._ended(session)
                        # what came of this attempt, or of one before, is told when time is over in the next
                        if attempt.cause is not None:
                            found = self._found = attempt.cause, attempt.detail
                    if isinstance(result, bytes):
                        return Asked(
                            _decoded(result),
                            sealed.number,
                            attempts,
                            time.perf_counter() - begun,
                            traffic,
                            tuple(share.relay for share in sealed.shares),
                        )
                    found = self._found = result, attempt.detail
                    broken = session if attempt.lost_session else None
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            if self._sessions.current in (None, broken):
                raise self._sessions.unanswered() from None
        # an image that found no room in the window waited for others, and for what they do
        cause, why = found or ((UNREACHABLE, attempt.detail) if attempt else self._found)
        seconds, why = time.perf_counter() - begun, f" ({why})" if why else ""
        raise Unanswered(cause, f"no answer in {seconds:.1f} s{why}; {mend(cause)}")

    async def session(self, other_than: ClientSession | None = None) -> ClientSession:
        """Return the open session, or open one.

        Args:
            other_than: one that is of no use any more.

        Raises:
            UserError: the server names a relay that the settings do not.
            Unanswered: the server refuses, or ``timeout_s`` is over.
        """
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self._sessions.get(other_than)
        except TimeoutError:
            raise self._sessions.unanswered() from None

    async def settle(self, seconds: float = 1.0) -> None:
        """Wait until no record is owed any more, at most so long: what images cost is whole then."""
        until = time.monotonic() + seconds
        while not all(courier.idle for courier in self._couriers.values()) and time.monotonic() < until:
            await asyncio.sleep(_SETTLE_S)

    async def _seal(
        self, image: NDArray[np.uint8], models: Sequence[str], broken: ClientSession | None
    ) -> tuple[ClientSession, SealedImage]:
        """Seal in the open session, when its window has room; first come, first served."""
        async with self._sealing:
            while True:
                session = await self._sessions.get(broken)
                name = session.terms.session
                try:
                    avoid = self._sessions.faults.avoided(session.scheme.t)
                    sealed = session.seal(image, models, now_ms(), avoid=avoid)
                except SharingError as error:
                    if error.cause is Cause.WINDOW_FULL and self._under_way.get(name):
                        self._progress.clear()
                        await self._progress.wait()
                    else:  # over, or full of images that were all given up: it never opens again
                        broken = session
                else:
                    self._under_way[name] = self._under_way.get(name, 0) + 1
                    return session, sealed

    def _ended(self, session: ClientSession) -> None:
        name = session.terms.session
        self._under_way[name] -= 1
        if not self._under_way[name]:
            del self._under_way[name]
        self._progress.set()


def _decoded(content: bytes) -> Answer:
    try:
        return decode_answer(content)
    except ValueError as error:
        raise Unanswered(Cause.MALFORMED.label, f"{error}; client and server differ in version") from error
