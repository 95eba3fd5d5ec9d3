"""The client's side of an open session: sealing images for it, opening the answers."""

import os
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.sharing import answer, payload
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.commitment import SALT_BYTES, commit
from fedpriv.sharing.envelope import Header, seal_share
from fedpriv.sharing.handshake import TransportKeys
from fedpriv.sharing.randomness import RandomBytes, secure_bytes
from fedpriv.sharing.schedule import Schedule
from fedpriv.sharing.scheme import Scheme
from fedpriv.sharing.terms import Terms

SHARE_LIFETIME_MS = 10_000


class SealedShare(NamedTuple):
    """One envelope and the relay that it must go through."""

    relay: str
    envelope: bytes


@dataclass(frozen=True)
class SealedImage:
    """An image ready to be sent.

    Attributes:
        number: which image of the session.
        image: its id, 16 bytes.
        expires_ms: when the server will refuse it, by the client's clock.
        shares: one per relay chosen. To retry, send the same bytes again.
    """

    number: int
    image: bytes
    expires_ms: int
    shares: tuple[SealedShare, ...] = field(repr=False)


class ClientSession:
    """An open session.

    Guarantee:
        - No two images get one number, from whichever thread; a forked process is refused. So no nonce
          is used for two payloads.
        - No image is sealed that the server could find beyond its window, as long as the answers that
          the server gives are opened here.

    Attributes:
        terms: what the server said.
        scheme: how images are shared.
        ends_ms: when the session is over, by the client's clock.
    """

    def __init__(
        self,
        secret: bytes,
        terms: Terms,
        scheme: Scheme,
        keys: TransportKeys,
        now_ms: int,
        share_lifetime_ms: int = SHARE_LIFETIME_MS,
    ) -> None:
        """Start at image 0; :meth:`ClientOpening.finish` is the way to get one."""
        self.terms, self.scheme = terms, scheme
        self.ends_ms = now_ms + terms.lifetime_ms
        self._ahead_ms = terms.clock_ms - now_ms
        self._share_lifetime_ms = share_lifetime_ms
        self._to_server, self._to_client = ChaCha20Poly1305(keys.to_server), ChaCha20Poly1305(keys.to_client)
        self._schedule = Schedule(secret, keys.transcript, terms.relays, scheme.n)
        self._next, self._answered = 0, -1
        self._lock, self._process = threading.Lock(), os.getpid()

    def seal(
        self,
        image: NDArray[np.uint8],
        models: Sequence[str],
        now_ms: int,
        *,
        avoid: Collection[str] = (),
        random: RandomBytes = secure_bytes,
    ) -> SealedImage:
        """Cut an image into shares and seal each to the server.

        Guarantee:
            - All envelopes of a session have one size.
            - An image that is refused here uses up no number.

        Args:
            image: (height, width) uint8 grey.
            models: names of the models wanted, at least one.
            now_ms: the client's clock.
            avoid: relays that are down: numbers whose schedule leaves fewer than t others are passed over,
                for ever, but for one where no number of half a window is better.
            random: for tests.

        Raises:
            UserError: when the image does not fit, or a model is not offered.
            SharingError: ``window_full`` when half a window of images waits beyond the last answer, those
                passed over included, ``expired_session``.
            ValueError: for another shape or dtype, or no model.
            RuntimeError: in a process forked from the one that opened the session.
        """
        content = payload.pack(image, self._positions(models), self.terms.payload_bytes)
        number = self._take_number(now_ms, avoid)
        slot = self._schedule.slot(number)
        salt = random(SALT_BYTES)
        commitment = commit(salt, content)
        expires_ms = min(now_ms + self._share_lifetime_ms, self.ends_ms)
        wire, session, expiry_ms = self.scheme.wire, self.terms.session, expires_ms + self._ahead_ms
        shares = []
        for which, (relay, share) in enumerate(
            zip(slot.relays, self.scheme.split(content, random), strict=True)
        ):
            header = Header(wire, which, session, slot.image, expiry_ms, commitment)
            shares.append(SealedShare(relay, seal_share(self._to_server, header, number, salt, share)))
        return SealedImage(number, slot.image, expires_ms, tuple(shares))

    def open_answer(self, number: int, sealed: bytes) -> bytes:
        """Return the content of the server's answer to image ``number``.

        Edge cases:
            - The same answer may be opened again.

        Raises:
            SharingError: ``not_authentic`` when it is not the server's answer to this image.
        """
        image = self._schedule.slot(number).image
        content = answer.open_answer(self._to_client, self.terms.session, image, number, sealed)
        with self._lock:
            self._answered = max(self._answered, number)
        return content

    def _positions(self, models: Sequence[str]) -> tuple[int, ...]:
        offered = self.terms.models
        for model in models:
            if model not in offered:
                raise UserError(f"models: {model!r} is not served; ask for {', '.join(offered)}")
        return tuple(offered.index(model) for model in models)

    def _take_number(self, now_ms: int, avoid: Collection[str]) -> int:
        if os.getpid() != self._process:
            raise RuntimeError("a session does not outlive a fork: open one in each process")
        if now_ms >= self.ends_ms:
            raise SharingError(Cause.EXPIRED_SESSION, "open a new session")
        with self._lock:
            beyond = self._answered + 1 + self.terms.window // 2
            number = self._next
            if avoid:
                without = (each for each in range(self._next, beyond) if self._does_without(avoid, each))
                number = next(without, self._next if self._next == self._answered + 1 else beyond)
            if number >= beyond:
                raise SharingError(
                    Cause.WINDOW_FULL, f"{self._next - 1 - self._answered} images wait beyond the last answer"
                )
            self._next = number + 1
            return number

    def _does_without(self, avoid: Collection[str], number: int) -> bool:
        return len(set(self._schedule.slot(number).relays) - set(avoid)) >= self.scheme.t
