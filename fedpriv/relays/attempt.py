"""One image on its way: its shares sent, and sent again, until an answer opens or all hope is gone."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping

from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.sharing.answer import RECORD_BYTES, Record, unpack_records
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.session import ClientSession, SealedImage

GRACE_S = 1.0
"""What a relay says is not authentic: after a first refusal the others have this long to do better."""
UNREACHABLE = "unreachable"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class Attempt:
    """Sends the shares of one sealed image.

    Guarantee:
        - A relay that is down, or says that it or the server is busy, gets the same bytes again, after
          growing pauses, until the shares expire.
        - The first answer that opens is taken, whatever else any relay says.

    Attributes:
        result: the answer's content, or the label of the cause for which there is none.
        sent_bytes: of envelopes.
        received_bytes: of records.
        detail: why a share was not delivered, the last time; empty when all were.
    """

    def __init__(
        self, session: ClientSession, sealed: SealedImage, couriers: Mapping[str, Courier], seconds: float
    ) -> None:
        """Send.

        Args:
            session: that sealed the image.
            sealed: the image.
            couriers: by name of relay.
            seconds: until the attempt is given up.
        """
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[bytes | str] = loop.create_future()
        self.sent_bytes, self.received_bytes, self.detail = 0, 0, ""
        self._session, self._sealed, self._couriers, self._loop = session, sealed, couriers, loop
        self._refused: dict[int, str] = {}
        self._last = UNREACHABLE
        self._timers = [loop.call_later(seconds, self._give_up)]
        for which in range(len(sealed.shares)):
            self._send(which, _FIRST_PAUSE_S)

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
        self.sent_bytes += len(envelope)
        self._couriers[relay].submit(envelope, self._taker(which, pause_s))

    def _taker(self, which: int, pause_s: float) -> Callable[[bytes | NotDelivered], None]:
        def take(record: bytes | NotDelivered) -> None:
            if self.result.done():
                return
            if isinstance(record, NotDelivered):
                self._last = Cause.BUSY.label if record.status == 503 else UNREACHABLE
                self.detail = record.detail
                self._again(which, pause_s)
                return
            self.received_bytes += 1 + RECORD_BYTES
            self._read(which, unpack_records(record, 1)[0], pause_s)

        return take

    def _read(self, which: int, record: Record, pause_s: float) -> None:
        if record.answer is not None:
            try:
                content = self._session.open_answer(self._sealed.number, record.answer)
            except SharingError as error:
                self._refuse(which, error.cause)
                return
            self.result.set_result(content)
            self.close()
        elif record.cause is Cause.BUSY:
            self._last = Cause.BUSY.label
            self._again(which, pause_s)
        elif record.cause is not None:
            self._refuse(which, record.cause)

    def _again(self, which: int, pause_s: float) -> None:
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        longer = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._timers.append(self._loop.call_later(pause_s * jitter, self._send, which, longer))

    def _refuse(self, which: int, cause: Cause) -> None:
        self._refused[which] = cause.label
        if len(self._refused) == len(self._sealed.shares):
            self._give_up()
        elif len(self._refused) == 1:
            self._timers.append(self._loop.call_later(GRACE_S, self._give_up))

    def _give_up(self) -> None:
        if not self.result.done():
            said = Counter(self._refused.values()).most_common(1)
            self.result.set_result(said[0][0] if said else self._last)
        self.close()
