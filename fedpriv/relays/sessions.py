"""A client's sessions: opened when needed, through whichever relay answers."""

import asyncio
import random
import time

import aiohttp

from fedpriv.errors import UserError
from fedpriv.relays.attempt import UNREACHABLE
from fedpriv.relays.courier import read_most, refusal_text
from fedpriv.relays.faults import Faults
from fedpriv.relays.settings import MAKE_KEYS, ClientSettings
from fedpriv.services.secret_files import read_secret
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.opening import ClientOpening, Credentials
from fedpriv.sharing.session import ClientSession

_REPLY_BYTES = 1 << 16
_PAUSE_S = 0.1
_LEAST_LEFT_MS = 1000
# a silent relay holds up a session for so long, then the next one is asked
_TIMEOUT = aiohttp.ClientTimeout(total=3.0)
_LABELS = {cause.label for cause in Cause}


class Unanswered(Exception):
    """An image got no answer; the text is one line, ``cause: detail``.

    Attributes:
        cause: label of a :class:`~fedpriv.sharing.causes.Cause`, or ``unreachable``.
    """

    def __init__(self, cause: str, detail: str) -> None:
        """Build the line."""
        super().__init__(f"{cause}: {detail}")
        self.cause = cause


class Sessions:
    """Opens sessions and keeps the last one; who waits for one bounds how long.

    Attributes:
        faults: which relays failed lately.
        current: the last session opened.
        hindrance: cause and detail for which the last attempt to open one failed.
    """

    def __init__(self, settings: ClientSettings) -> None:
        """Read the secret.

        Raises:
            UserError: settings or secret are not usable.
        """
        self._settings, self._scheme = settings, settings.scheme
        try:
            self._server_public, key_id = (
                bytes.fromhex(settings.server_public),
                bytes.fromhex(settings.key_id),
            )
            if len(self._server_public) != 32 or len(key_id) != 8:
                raise ValueError
        except ValueError as error:
            raise UserError("client: server_public needs 64 hexadecimal digits, key_id 16") from error
        if len(settings.relays) < self._scheme.n:
            raise UserError(
                f"client: {self._scheme.n} shares need as many relays, not {len(settings.relays)}"
            )
        self._credentials = Credentials(key_id, read_secret(settings.secret_file, 32, MAKE_KEYS))
        self.faults = Faults(settings.relays)
        self.current: ClientSession | None = None
        self.hindrance = UNREACHABLE, "no relay has answered yet"

    def begin(self, http: aiohttp.ClientSession) -> None:
        """Use these connections; needs a running event loop."""
        self._http, self._opening = http, asyncio.Lock()

    async def get(self, other_than: ClientSession | None = None) -> ClientSession:
        """Return the current session, or open one, see :meth:`RelayClient.session`."""
        async with self._opening:
            found = self.current
            if found is None or found is other_than or now_ms() >= found.ends_ms - _LEAST_LEFT_MS:
                found = self.current = await self.open()
            return found

    async def open(self) -> ClientSession:
        """Open a session through any relay; a refusal counts when every relay brings one.

        Raises:
            UserError: the server names a relay that the settings do not.
            Unanswered: the server refuses.
        """
        while True:
            refused: list[tuple[str, str]] = []
            names = list(self._settings.relays)
            random.shuffle(names)  # spreads load, hides nothing
            for name in self.faults.last(names):
                opened = await self._open_through(self._settings.relays[name])
                if isinstance(opened, ClientSession):
                    if missing := set(opened.terms.relays) - set(self._settings.relays):
                        raise UserError(f"relays: the server has {sorted(missing)[0]!r}, name its URL too")
                    return opened
                cause, why, final = opened
                if cause == UNREACHABLE:
                    self.faults.failed(name)
                if final:
                    refused.append((cause, why))
                self.hindrance = refused[0] if refused else (cause, why)
            if len(refused) == len(names):
                raise self.unanswered()
            await asyncio.sleep(_PAUSE_S)

    def unanswered(self) -> Unanswered:
        """Return the error that names :attr:`hindrance`."""
        cause, why = self.hindrance
        return Unanswered(cause, f"no session: {why}; {mend(cause)}")

    async def _open_through(self, url: str) -> ClientSession | tuple[str, str, bool]:
        opening = ClientOpening(self._server_public, self._credentials, self._scheme, now_ms())
        try:
            async with self._http.post(
                f"{url.rstrip('/')}/v1/sessions",
                data=opening.message,
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    text = await refusal_text(response)
                    cause, _, detail = text.partition(": ")
                    if cause not in _LABELS:
                        return UNREACHABLE, f"{url}: {text}", response.status < 500
                    return cause, detail or cause, response.status < 500
                reply = await read_most(response.content, _REPLY_BYTES)
            return opening.finish(reply, now_ms(), round(self._settings.share_s * 1000))
        except (aiohttp.ClientError, OSError) as error:
            return UNREACHABLE, f"{url}: {str(error) or type(error).__name__}", False
        except SharingError as error:
            return error.cause.label, f"{url}: {error}", True


_MENDS = {
    UNREACHABLE: "see that the relays run",
    Cause.BUSY.label: "see that the model server runs and is not overloaded",
    Cause.INCOMPLETE.label: "see which relay is down",
    Cause.EXPIRED.label: "set this machine's clock, or raise share_s",
    Cause.FAILED.label: "see the model server's log",
    Cause.UNKNOWN_CLIENT.label: "enrol this client's key with the model server",
    Cause.NOT_AUTHENTIC.label: "server_public or the secret is not the model server's",
    Cause.CLOCK_SKEW.label: "set this machine's clock",
    Cause.WRONG_RELAY.label: "the names or keys of the relays are not the model server's",
}


def mend(cause: str) -> str:
    """Return what who asks can do about a cause."""
    return _MENDS.get(cause, "submit the image again")


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000
