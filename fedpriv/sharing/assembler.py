"""The model server's core: envelopes in, whole images out, answers sealed, each exactly once."""

from collections import Counter, deque
from collections.abc import Mapping

from fedpriv.sharing import answer, commitment, payload
from fedpriv.sharing.admission import ServerSession
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.envelope import TAG_BYTES, Header, open_share, read_header
from fedpriv.sharing.held import HeldSession, OpenSet
from fedpriv.sharing.outcomes import Complete, Dropped, ImageKey, Refused, Waiting
from fedpriv.sharing.room import Limits, Room
from fedpriv.sharing.schedule import Slot


class Assembler:
    """Puts sets of shares together.

    Not for several threads at once. Times are milliseconds since 1970 by the server's clock.

    Guarantee:
        - No share is accepted twice, and no number completes twice, whatever is replayed, swapped,
          mixed or delayed.
        - What completes is the payload that the session's client committed to under this number.
        - Nothing but counters changes before a share was found authentic and came by its relay.
        - Memory is bounded by :class:`Limits`; at a bound what is new is refused; nothing open is evicted.
        - One answer per number for ever; a retry gets the same bytes.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        """Start without sessions."""
        self._limits = limits or Limits()
        self._room = Room(self._limits)
        self._sessions: dict[bytes, HeldSession] = {}
        self._deadlines: deque[tuple[int, ImageKey]] = deque()
        self._answers: deque[tuple[int, ImageKey]] = deque()
        self._dropped: list[Dropped] = []
        self._counts: Counter[str] = Counter()

    @property
    def counters(self) -> Mapping[str, int]:
        """Totals: ``accepted`` shares, ``copies``, ``complete`` and ``answered`` images, and each cause."""
        return dict(self._counts)

    @property
    def gauges(self) -> Mapping[str, int]:
        """What is held now: ``sessions``, ``open_sets``, ``partial_bytes``, ``kept_answers``."""
        return {
            "sessions": len(self._sessions),
            "open_sets": sum(len(held.sets) for held in self._sessions.values()),
            "partial_bytes": self._room.total,
            "kept_answers": len(self._answers),
        }

    def add(self, session: ServerSession, now_ms: int) -> None:
        """Take a session that was admitted.

        Edge cases:
            - A client at its own bound loses its least recently used session without open sets.

        Raises:
            SharingError: ``busy`` when there are too many.
        """
        own = [held for held in self._sessions.values() if held.session.client == session.client]
        if len(own) >= self._limits.max_client_sessions:
            idle = min((held for held in own if not held.sets), key=lambda held: held.used_ms, default=None)
            if idle is None:
                raise self._refusal(Cause.BUSY, "every session of this client has images open")
            del self._sessions[idle.session.terms.session]
        if len(self._sessions) >= self._limits.max_sessions:
            raise self._refusal(Cause.BUSY, f"{self._limits.max_sessions} sessions are open")
        self._sessions[session.terms.session] = HeldSession(session, now_ms, self._limits.max_closed)

    def accept(self, relay: str, envelope: bytes, now_ms: int) -> Waiting | Complete | Refused:
        """Take one envelope.

        Args:
            relay: name of the relay that forwarded it, already authenticated.
            envelope: untrusted bytes.
            now_ms: the server's clock.

        Returns:
            What became of it. The first cause that applies is the one named, in the order size, version,
            session, expiry, id, scheme, relay, authenticity, consistency, room.
        """
        self._sweep(now_ms)
        try:
            header = read_header(envelope)
            held, slot = self._place(header, envelope, now_ms)
            if held.is_closed(slot.number):
                self._counts[Cause.ALREADY_USED.label] += 1
                return Refused(Cause.ALREADY_USED, held.answer(slot.number))
            if header.scheme != held.session.scheme.wire or header.share >= held.session.scheme.n:
                raise SharingError(Cause.WRONG_SCHEME, f"{header.scheme}, share {header.share}")
            if slot.relays[header.share] != relay:
                raise SharingError(Cause.WRONG_RELAY, relay)
            salt, share = open_share(held.session.to_server, envelope, slot.number, header.share)
            return self._take(held, slot, header, salt, share, envelope[-TAG_BYTES:], now_ms)
        except SharingError as error:
            self._counts[error.cause.label] += 1
            return Refused(error.cause)

    def answered(self, image: ImageKey, content: bytes, now_ms: int) -> bytes:
        """Seal the answer to a complete image, keep it for retries and close its number.

        Raises:
            KeyError: when no such image waits for its answer.
            ValueError: when ``content`` is too long; the image still waits.
        """
        held = self._computing(image)
        name = held.sets[image.number].slot.image
        sealed = answer.seal_answer(held.session.to_client, image.session, name, image.number, content)
        kept = len(self._answers) < self._limits.max_answers
        held.close(image.number, sealed if kept else None)
        if kept:
            self._answers.append((now_ms + self._limits.retention_ms, image))
        self._counts["answered"] += 1
        return sealed

    def failed(self, image: ImageKey) -> None:
        """Close a complete image without an answer; who waits for it is refused with ``failed``.

        Raises:
            KeyError: when no such image waits for its answer.
        """
        self._computing(image).close(image.number, None)
        self._counts[Cause.FAILED.label] += 1

    def expire(self, now_ms: int) -> list[Dropped]:
        """Give up what is overdue; call a few times a second.

        Returns:
            The images given up since the last call, also those that ``accept`` came across.
        """
        self._sweep(now_ms)
        for name, held in list(self._sessions.items()):
            over = now_ms >= held.session.ends_ms + self._limits.retention_ms
            if not held.sets and (over or now_ms - held.used_ms >= self._limits.idle_ms):
                del self._sessions[name]
        dropped, self._dropped = self._dropped, []
        return dropped

    def _place(self, header: Header, envelope: bytes, now_ms: int) -> tuple[HeldSession, Slot]:
        held = self._sessions.get(header.session)
        if held is None:
            raise SharingError(Cause.UNKNOWN_SESSION, header.session.hex())
        if now_ms >= held.session.ends_ms:
            raise SharingError(Cause.EXPIRED_SESSION, header.session.hex())
        if len(envelope) != held.session.envelope_bytes:
            raise SharingError(Cause.WRONG_SIZE, f"envelope of {len(envelope)} bytes")
        if now_ms >= header.expiry_ms:
            raise SharingError(Cause.EXPIRED, f"{now_ms - header.expiry_ms} ms ago")
        slot = held.find(header.image)
        if slot is None:
            raise SharingError(Cause.UNEXPECTED_ID, header.image.hex())
        return held, slot

    def _take(
        self,
        held: HeldSession,
        slot: Slot,
        header: Header,
        salt: bytes,
        share: bytes,
        tag: bytes,
        now_ms: int,
    ) -> Waiting | Complete | Refused:
        """Put an authentic share into its set."""
        image = ImageKey(header.session, slot.number)
        found = held.sets.get(slot.number)
        if found is not None:
            known = found.tags.get(header.share, tag)
            if (found.commitment, found.salt, known) != (header.commitment, salt, tag):
                raise SharingError(Cause.INCONSISTENT, f"image {slot.number}, share {header.share}")
            if header.share in found.tags or found.computing:
                copy = header.share in found.tags
                found.tags[header.share] = tag
                self._counts["copies" if copy else "accepted"] += 1
                return Waiting(image, copy)
        elif len(held.sets) >= held.session.terms.window:
            raise SharingError(Cause.BUSY, f"{len(held.sets)} images of this session are open")
        if found is not None and len(found.shares) + 1 == held.session.scheme.t:
            self._counts["accepted"] += 1
            found.tags[header.share] = tag
            return self._complete(held, image, found, {**found.shares, header.share: share})
        self._room.take(held.session.client, len(share))
        if found is None:
            found = OpenSet(slot, header.commitment, salt)
            held.open(found, now_ms)
            self._deadlines.append((now_ms + self._limits.set_timeout_ms, image))
        found.tags[header.share], found.shares[header.share] = tag, share
        self._counts["accepted"] += 1
        return Waiting(image, copy=False)

    def _complete(
        self, held: HeldSession, image: ImageKey, found: OpenSet, shares: dict[int, bytes]
    ) -> Complete | Refused:
        self._release(held, found)
        session = held.session
        try:
            try:
                content = session.scheme.combine(shares, session.terms.payload_bytes)
            except ValueError as error:
                raise SharingError(Cause.BAD_COMMITMENT, str(error)) from error
            if not commitment.opens(found.commitment, found.salt, content):
                raise SharingError(Cause.BAD_COMMITMENT, f"image {image.number}")
            opened = payload.unpack(content)
            if opened.wanted[-1] >= len(session.terms.models):
                raise SharingError(Cause.MALFORMED, f"model {opened.wanted[-1]} of {session.terms.models}")
        except SharingError as error:
            held.close(image.number, None)
            self._counts[error.cause.label] += 1
            return Refused(error.cause, closed=image)
        found.computing = True
        self._counts["complete"] += 1
        return Complete(image, opened)

    def _release(self, held: HeldSession, found: OpenSet) -> None:
        self._room.release(held.session.client, sum(map(len, found.shares.values())))
        found.shares.clear()

    def _computing(self, image: ImageKey) -> HeldSession:
        held = self._sessions[image.session]
        if not held.sets[image.number].computing:
            raise KeyError(image)
        return held

    def _sweep(self, now_ms: int) -> None:
        """Give up sets and answers whose time is over: both queues are in the order of their times."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            image = self._deadlines.popleft()[1]
            held = self._sessions.get(image.session)
            found = held.sets.get(image.number) if held else None
            if held is None or found is None or found.computing:
                continue
            self._release(held, found)
            held.close(image.number, None)
            self._counts[Cause.INCOMPLETE.label] += 1
            self._dropped.append(Dropped(image, Cause.INCOMPLETE))
        while self._answers and self._answers[0][0] <= now_ms:
            image = self._answers.popleft()[1]
            if held := self._sessions.get(image.session):
                held.forget_answer(image.number)

    def _refusal(self, cause: Cause, detail: str) -> SharingError:
        self._counts[cause.label] += 1
        return SharingError(cause, detail)
