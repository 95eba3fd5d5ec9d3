"""The server's side of the handshake: who may open a session, and what a session has."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.envelope import envelope_bytes
from fedpriv.sharing.handshake import KEY_BYTES, OVERHEAD_BYTES, Responder
from fedpriv.sharing.opening import PREFIX, PREFIX_BYTES
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES
from fedpriv.sharing.schedule import Schedule
from fedpriv.sharing.scheme import Scheme, every_scheme
from fedpriv.sharing.terms import SESSION_BYTES, Hello, Terms

MAX_FIRST_BYTES = PREFIX_BYTES + OVERHEAD_BYTES + 256


@dataclass(frozen=True)
class Offer:
    """What a model server gives every client.

    Attributes:
        relays: names of its relays, at least two.
        models: names of its models.
        schemes: how images may be shared; every scheme that the relays can carry when None.
        payload_bytes: fixed size of every payload; an image has at most 8 pixels fewer.
        window: how many images of a session may be open at once; even.
        lifetime_ms: how long a session lives.

    Raises:
        ValueError: when they contradict themselves.
    """

    relays: tuple[str, ...]
    models: tuple[str, ...]
    schemes: tuple[Scheme, ...] | None = None
    payload_bytes: int = DEFAULT_PAYLOAD_BYTES
    window: int = 256
    lifetime_ms: int = 3_600_000

    def __post_init__(self) -> None:
        """Check them before the first client comes."""
        self.terms(bytes(SESSION_BYTES), 0)
        if not self.offered:
            raise ValueError("schemes: none; with two relays or more there is at least one")
        for scheme in self.offered:
            if scheme.n > len(self.relays):
                raise ValueError(f"schemes: {scheme.n} shares need as many relays, not {len(self.relays)}")

    @property
    def offered(self) -> tuple[Scheme, ...]:
        """The schemes."""
        return every_scheme(len(self.relays)) if self.schemes is None else self.schemes

    def terms(self, session: bytes, now_ms: int) -> Terms:
        """Return the terms of one session."""
        return Terms(
            session, now_ms, self.lifetime_ms, self.window, self.payload_bytes, self.relays, self.models
        )


@dataclass(frozen=True, eq=False)
class ServerSession:
    """An open session as the server knows it.

    Attributes:
        client: key id of the client.
        terms: what it was told.
        scheme: how it shares.
        schedule: ids and relays of its images.
        ends_ms: when it is over, by the server's clock.
        envelope_bytes: size of each of its envelopes.
        to_server: cipher of the client's shares.
        to_client: cipher of the answers.
    """

    client: bytes
    terms: Terms
    scheme: Scheme
    schedule: Schedule = field(repr=False)
    ends_ms: int
    envelope_bytes: int
    to_server: ChaCha20Poly1305 = field(repr=False)
    to_client: ChaCha20Poly1305 = field(repr=False)


class Admission:
    """Answers first messages.

    Guarantee:
        - One first message opens at most one session, also when it is replayed: while its clock would
          still be accepted its ephemeral key is remembered.
        - Nothing is remembered of a message that no enrolled client made.
        - A server that was restarted remembers nothing and needs not to: a replay then opens a session
          whose keys nobody but the server knows.
    """

    def __init__(
        self,
        static: X25519PrivateKey,
        clients: Mapping[bytes, bytes],
        offer: Offer,
        *,
        max_skew_ms: int = 30_000,
        max_remembered: int = 65536,
    ) -> None:
        """Keep what is needed.

        Args:
            static: the server's key.
            clients: secret by key id; looked up anew each time, so it may change.
            offer: what every session gets.
            max_skew_ms: how far a client's clock may be off.
            max_remembered: bound on first messages remembered.
        """
        self._static, self._clients, self._offer = static, clients, offer
        self._max_skew_ms, self._max_remembered = max_skew_ms, max_remembered
        self._seen: dict[bytes, int] = {}

    def admit(self, message: bytes, now_ms: int) -> tuple[bytes, ServerSession]:
        """Answer one first message.

        Args:
            message: untrusted bytes.
            now_ms: the server's clock.

        Returns:
            The reply, and the session to be given to the assembler.

        Raises:
            SharingError: the first that applies of ``wrong_size``, ``malformed``, ``unknown_client``,
                ``not_authentic``, ``not_offered`` (also for a scheme that does not exist),
                ``clock_skew``, ``replayed_handshake``, ``busy``.
        """
        if not PREFIX_BYTES + OVERHEAD_BYTES <= len(message) <= MAX_FIRST_BYTES:
            raise SharingError(Cause.WRONG_SIZE, f"first message of {len(message)} bytes")
        prefix, sealed = message[:PREFIX_BYTES], message[PREFIX_BYTES:]
        if not prefix.startswith(PREFIX):
            raise SharingError(Cause.MALFORMED, "no first message of a session, or of another version")
        client = prefix[len(PREFIX) :]
        secret = self._clients.get(client)
        if secret is None:
            raise SharingError(Cause.UNKNOWN_CLIENT, f"key id {client.hex()} is not enrolled")
        responder = Responder(self._static, secret, prefix)
        hello = Hello.unpack(responder.read(sealed))
        if hello.scheme not in self._offer.offered:
            raise SharingError(Cause.NOT_OFFERED, str(hello.scheme))
        self._remember(sealed[:KEY_BYTES], hello.clock_ms, now_ms)
        terms = self._offer.terms(secrets.token_bytes(SESSION_BYTES), now_ms)
        reply, keys = responder.reply(terms.pack())
        return reply, ServerSession(
            client=client,
            terms=terms,
            scheme=hello.scheme,
            schedule=Schedule(secret, keys.transcript, terms.relays, hello.scheme.n),
            ends_ms=now_ms + terms.lifetime_ms,
            envelope_bytes=envelope_bytes(hello.scheme, terms.payload_bytes),
            to_server=ChaCha20Poly1305(keys.to_server),
            to_client=ChaCha20Poly1305(keys.to_client),
        )

    def _remember(self, ephemeral: bytes, clock_ms: int, now_ms: int) -> None:
        """Refuse a message that is too old, from the future, or known; note it otherwise."""
        if abs(clock_ms - now_ms) > self._max_skew_ms:
            raise SharingError(
                Cause.CLOCK_SKEW, f"{clock_ms - now_ms} ms apart, at most {self._max_skew_ms} are accepted"
            )
        if ephemeral in self._seen:
            raise SharingError(Cause.REPLAYED_HANDSHAKE, "this first message was answered before")
        if len(self._seen) >= self._max_remembered:
            self._seen = {key: until for key, until in self._seen.items() if until >= now_ms}
            if len(self._seen) >= self._max_remembered:
                raise SharingError(Cause.BUSY, f"{self._max_remembered} sessions opened in the last moments")
        self._seen[ephemeral] = clock_ms + self._max_skew_ms
