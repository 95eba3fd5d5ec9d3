"""The client's side of opening a session.

The first message is ``FPH``, a version byte, the client's key id (8 bytes), and the first message of
:mod:`fedpriv.sharing.handshake`, whose prologue those 12 bytes are.
"""

import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.handshake import KEY_BYTES, Initiator
from fedpriv.sharing.scheme import Scheme
from fedpriv.sharing.session import SHARE_LIFETIME_MS, ClientSession
from fedpriv.sharing.terms import Hello, Terms

KEY_ID_BYTES = 8
PREFIX = b"FPH\x01"
PREFIX_BYTES = len(PREFIX) + KEY_ID_BYTES


@dataclass(frozen=True)
class Credentials:
    """What a client shares with the model server, handed over out of band.

    Attributes:
        key_id: which client; 8 bytes, not secret.
        secret: 32 bytes.

    Raises:
        ValueError: for other sizes.
    """

    key_id: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the sizes."""
        if len(self.key_id) != KEY_ID_BYTES or len(self.secret) != KEY_BYTES:
            raise ValueError(f"credentials: key id of {KEY_ID_BYTES} bytes, secret of {KEY_BYTES}")

    @classmethod
    def generate(cls) -> "Credentials":
        """Draw new ones from the operating system."""
        return cls(secrets.token_bytes(KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES))


class ClientOpening:
    """One attempt to open a session.

    Attributes:
        message: to be sent to the server through any relay.

    Edge cases:
        - After :meth:`finish` has refused a reply, this attempt is over; make a new one.
    """

    def __init__(
        self,
        server_public: bytes,
        credentials: Credentials,
        scheme: Scheme,
        now_ms: int,
        *,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        """Make the first message.

        Args:
            server_public: the model server's static X25519 key, 32 bytes.
            credentials: the client's.
            scheme: how images will be shared.
            now_ms: the client's clock, milliseconds since 1970.
            ephemeral: for tests.

        Raises:
            ValueError: when the server's key has another size.
        """
        prefix = PREFIX + credentials.key_id
        self._initiator = Initiator(server_public, credentials.secret, prefix, ephemeral)
        self._credentials, self._scheme = credentials, scheme
        self.message = prefix + self._initiator.first(Hello(now_ms, scheme).pack())

    def finish(self, reply: bytes, now_ms: int, share_lifetime_ms: int = SHARE_LIFETIME_MS) -> ClientSession:
        """Read the server's reply.

        Args:
            reply: what came back.
            now_ms: the client's clock.
            share_lifetime_ms: how long the session's shares may be on their way.

        Raises:
            SharingError: ``wrong_size``, ``not_authentic`` or ``malformed``.
        """
        content, keys = self._initiator.finish(reply)
        terms = Terms.unpack(content)
        if self._scheme.n > len(terms.relays):
            raise SharingError(Cause.MALFORMED, f"{len(terms.relays)} relays for {self._scheme.n} shares")
        return ClientSession(self._credentials.secret, terms, self._scheme, keys, now_ms, share_lifetime_ms)
