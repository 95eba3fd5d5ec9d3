"""One image on its way: its shares sent, and sent again, until an answer opens or all hope is gone."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.relays.faults import Faults
from fedpriv.sharing.answer import RECORD_BYTES, Record, unpack_records
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.session import ClientSession, SealedImage

GRACE_S = 1.0
"""What a relay says is not authentic: after a first refusal the others have this long to do better."""
SILENT_S = 2.5
"""A relay without a word for so long is down, if others of the image have said something: a model server
says ``busy`` after its ``hold_s``."""
UNREACHABLE = "unreachable"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_MISSES = 2
_NEW_SESSION = {
    cause.label
    for cause in (Cause.UNKNOWN_SESSION, Cause.EXPIRED_SESSION, Cause.UNEXPECTED_ID, Cause.EXPIRED)
}


@dataclass(eq=False)
class Traffic:
    """What one image cost so far, over all its attempts; records that come after its answer count too.

    Attributes:
        sent_bytes: of envelopes.
        received_bytes: of records.
    """

    sent_bytes: int = 0
    received_bytes: int = 0


class Attempt:
    """Sends the shares of one sealed image.

    Guarantee:
        - A relay that is down, or says that it or the server is busy, gets the same bytes again, after
          growing pauses, until the shares expire; no longer than that takes to see when too few relays of
          this image work and enough others do.
        - The first answer that opens is taken, whatever else any relay says.
        - Relays whose word stands against more others of the image, or that say nothing, have failed.

    Attributes:
        result: the answer's content, or the label of the cause for which there is none.
        detail: why a share was not delivered or not believed, the last time; empty when all were.
    """

    def __init__(
        self,
        session: ClientSession,
        sealed: SealedImage,
        couriers: Mapping[str, Courier],
        seconds: float,
        faults: Faults,
        traffic: Traffic,
    ) -> None:
        """Send.

        Args:
            session: that sealed the image.
            sealed: the image.
            couriers: by name of relay.
            seconds: until the attempt is given up.
            faults: told which relays work.
            traffic: counts on.
        """
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[bytes | str] = loop.create_future()
        self.detail = ""
        self._session, self._sealed, self._couriers, self._loop = session, sealed, couriers, loop
        self._faults, self._traffic = faults, traffic
        self._all = set(range(len(sealed.shares)))
        self._refused: dict[int, str] = {}
        self._said: dict[int, str] = {}
        self._misses: Counter[int] = Counter()
        self._blamed: set[int] = set()
        self._timers = [
            loop.call_later(min(SILENT_S, seconds), self._blame_silent),
            loop.call_later(seconds, self._give_up),
        ]
        faults.chosen(share.relay for share in sealed.shares)
        for which in self._all:
            self._send(which, _FIRST_PAUSE_S)

    @property
    def cause(self) -> str | None:
        """For what there is no answer yet, as far as anybody has said anything."""
        for said in (self._refused, self._said):
            if found := Counter(said.values()):
                return UNREACHABLE if UNREACHABLE in found else found.most_common(1)[0][0]
        return None

    @property
    def lost_session(self) -> bool:
        """Whether half of the relays or more say that the session is of no use; one may lie."""
        return 2 * sum(label in _NEW_SESSION for label in self._refused.values()) >= len(self._all)

    def close(self) -> None:
        """Send no more; what is under way is let go."""
        for timer in self._timers:
            timer.cancel()
        if not self.result.done():
            self.result.cancel()

    def _send(self, which: int, pause_s: float) -> None:
        if self.result.done():
            return
        relay, envelope = self._sealed.shares[which]
        self._traffic.sent_bytes += len(envelope)
        self._couriers[relay].submit(envelope, self._taker(which, pause_s))

    def _taker(self, which: int, pause_s: float) -> Callable[[bytes | NotDelivered], None]:
        def take(record: bytes | NotDelivered) -> None:
            if not isinstance(record, NotDelivered):
                self._traffic.received_bytes += 1 + RECORD_BYTES
            if self.result.done():
                return
            if isinstance(record, NotDelivered):
                self._miss(which, record, pause_s)
            else:
                self._misses[which] = 0
                self._read(which, unpack_records(record, 1)[0], pause_s)

        return take

    def _miss(self, which: int, lost: NotDelivered, pause_s: float) -> None:
        busy = lost.status == 503
        self.detail = lost.detail
        self._said[which] = Cause.BUSY.label if busy else UNREACHABLE
        self._misses[which] += not busy
        if self._misses[which] >= _MISSES:  # once may be a connection that was kept too long
            self._blame([which])
        if not self.result.done():
            self._again(which, pause_s)

    def _read(self, which: int, record: Record, pause_s: float) -> None:
        if record.answer is not None:
            try:
                content = self._session.open_answer(self._sealed.number, record.answer)
            except SharingError as error:
                self._refuse(which, error.cause)
                return
            scheme = self._session.scheme
            for proven in self._all if scheme.t == scheme.n else (which,):
                self._faults.worked(self._sealed.shares[proven].relay)
            self.result.set_result(content)
            self.close()
        elif record.cause is Cause.BUSY:
            self._said[which] = Cause.BUSY.label
            self._again(which, pause_s)
        elif record.cause is not None:
            self._refuse(which, record.cause)

    def _again(self, which: int, pause_s: float) -> None:
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        longer = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._timers.append(self._loop.call_later(pause_s * jitter, self._send, which, longer))

    def _refuse(self, which: int, cause: Cause) -> None:
        self._refused[which] = cause.label
        if len(self._refused) == len(self._all):
            self._give_up()
        elif len(self._refused) == 1:
            self._timers.append(self._loop.call_later(GRACE_S, self._judge))

    def _judge(self) -> None:
        """Refusals of some, and others say nothing of the kind: the fewer are not believed."""
        if not self._blamed:
            refused = set(self._refused)
            if 2 * len(refused) >= len(self._all):
                others = self._all - refused
                self.detail = f"relay {self._names(others)} did not pass its share on"
                self._blame(others)
            if 2 * len(refused) <= len(self._all):
                said = ", ".join(sorted(set(self._refused.values())))
                self.detail = f"relay {self._names(refused)} says {said}, others do not"
                self._blame(refused)
        self._give_up()

    def _blame_silent(self) -> None:
        silent = self._all - set(self._said) - set(self._refused)
        if silent:
            self.detail = f"no word from relay {self._names(silent)}"
        if silent and silent != self._all:
            self._said |= dict.fromkeys(silent, UNREACHABLE)
            self._blame(silent)

    def _blame(self, which: Collection[int]) -> None:
        """Leave relays out of the next images, and give this one up if it is lost and another is not."""
        for each in which:
            self._faults.failed(self._sealed.shares[each].relay)
        self._blamed |= set(which)
        needed = self._session.scheme.t
        if len(self._all) - len(self._blamed) < needed and self._faults.enough(needed):
            self._give_up()

    def _names(self, which: Collection[int]) -> str:
        return ", ".join(sorted(self._sealed.shares[each].relay for each in which))

    def _give_up(self) -> None:
        if not self.result.done():
            self.result.set_result(self.cause or UNREACHABLE)
        self.close()
