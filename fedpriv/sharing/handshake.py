"""The handshake: Noise_NKpsk0_25519_ChaChaPoly_SHA256.

::

    <- s                  the client knows the server's static key
    -> psk, e, es         first message, with a payload
    <- e, ee              second message, with a payload

The server is authenticated by its static key, the client by the pre-shared secret; the session's keys
are forward secret from the second message on. The first message's payload is not: who later learns
the server's static key and the secret can read it.

Source: T. Perrin, "The Noise Protocol Framework", revision 34, 2018.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.sharing.causes import Cause, SharingError

_PROTOCOL = b"Noise_NKpsk0_25519_ChaChaPoly_SHA256"
KEY_BYTES = 32
OVERHEAD_BYTES = KEY_BYTES + 16
MAX_MESSAGE_BYTES = 65535


@dataclass(frozen=True)
class TransportKeys:
    """What a handshake ends with, equal on both sides.

    Attributes:
        to_server: ChaCha20-Poly1305 key of what the client sends.
        to_client: that of what the server sends.
        transcript: the handshake hash, which names this session and no other.
    """

    to_server: bytes = field(repr=False)
    to_client: bytes = field(repr=False)
    transcript: bytes


def nonce(number: int) -> bytes:
    """Return Noise's nonce of ChaChaPoly: four zero bytes, then ``number`` as 8 bytes, little-endian."""
    return bytes(4) + number.to_bytes(8, "little")


class Initiator:
    """The client's side of one handshake.

    Guarantee:
        - :meth:`finish` succeeds only on the reply of the holder of the server's static key, who
          also knows the secret, to this first message.
    """

    def __init__(
        self,
        server_public: bytes,
        secret: bytes,
        prologue: bytes,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        """Prepare one handshake.

        Args:
            server_public: the server's static public key, 32 bytes.
            secret: the pre-shared secret, 32 bytes.
            prologue: what both sides must have seen alike.
            ephemeral: for tests; by default the operating system draws it.

        Raises:
            ValueError: for a key or secret of another size.
        """
        self._server = X25519PublicKey.from_public_bytes(server_public)
        self._ephemeral = ephemeral or X25519PrivateKey.generate()
        self._state = _Symmetric(prologue, server_public, secret)

    def first(self, payload: bytes) -> bytes:
        """Return the first message: ephemeral key (32 bytes), sealed payload (16 bytes more than it).

        Raises:
            SharingError: ``not_authentic`` when the server's key is one of the few that fix the result.
        """
        public = self._ephemeral.public_key().public_bytes_raw()
        self._state.mix_ephemeral(public)
        self._state.mix_key(_exchange(self._ephemeral, self._server.public_bytes_raw()))
        return public + self._state.seal(payload)

    def finish(self, message: bytes) -> tuple[bytes, TransportKeys]:
        """Read the second message.

        Returns:
            Its payload and the session's keys.

        Raises:
            SharingError: ``wrong_size``, or ``not_authentic``.
        """
        their_public, sealed = _cut(message)
        self._state.mix_ephemeral(their_public)
        self._state.mix_key(_exchange(self._ephemeral, their_public))
        return self._state.open(sealed), self._state.split()


class Responder:
    """The server's side of one handshake.

    Guarantee:
        - :meth:`read` succeeds only on a first message that a holder of the secret made for this server.
          It may be a replay: telling that is the caller's (:mod:`fedpriv.sharing.admission`).
    """

    def __init__(
        self,
        static: X25519PrivateKey,
        secret: bytes,
        prologue: bytes,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        """Prepare one handshake; arguments as for :class:`Initiator`.

        Raises:
            ValueError: for a secret of another size.
        """
        self._static = static
        self._ephemeral = ephemeral or X25519PrivateKey.generate()
        self._state = _Symmetric(prologue, static.public_key().public_bytes_raw(), secret)
        self._theirs = b""

    def read(self, message: bytes) -> bytes:
        """Return the payload of the first message.

        Raises:
            SharingError: ``wrong_size``, or ``not_authentic``.
        """
        self._theirs, sealed = _cut(message)
        self._state.mix_ephemeral(self._theirs)
        self._state.mix_key(_exchange(self._static, self._theirs))
        return self._state.open(sealed)

    def reply(self, payload: bytes) -> tuple[bytes, TransportKeys]:
        """Return the second message and the session's keys; call after :meth:`read`."""
        public = self._ephemeral.public_key().public_bytes_raw()
        self._state.mix_ephemeral(public)
        self._state.mix_key(_exchange(self._ephemeral, self._theirs))
        return public + self._state.seal(payload), self._state.split()


class _Symmetric:
    """Noise's SymmetricState and CipherState, from Initialize to the ``psk`` token."""

    def __init__(self, prologue: bytes, server_public: bytes, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"secret of {len(secret)} bytes, {KEY_BYTES} are needed")
        self._hash = self._chain = hashlib.sha256(_PROTOCOL).digest()
        self._key, self._count = b"", 0
        self._mix_hash(prologue)
        self._mix_hash(server_public)
        # MixKeyAndHash
        self._chain, mixed, self._key = _hkdf(self._chain, secret, 3)
        self._mix_hash(mixed)

    def mix_ephemeral(self, public: bytes) -> None:
        """The token ``e``; handshakes with a pre-shared key mix it into the key as well."""
        self._mix_hash(public)
        self.mix_key(public)

    def mix_key(self, material: bytes) -> None:
        self._chain, self._key = _hkdf(self._chain, material, 2)
        self._count = 0

    def seal(self, payload: bytes) -> bytes:
        if len(payload) > MAX_MESSAGE_BYTES - OVERHEAD_BYTES:
            raise ValueError(f"payload of {len(payload)} bytes, a message has at most {MAX_MESSAGE_BYTES}")
        sealed = ChaCha20Poly1305(self._key).encrypt(nonce(self._count), payload, self._hash)
        self._advance(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        try:
            payload = ChaCha20Poly1305(self._key).decrypt(nonce(self._count), sealed, self._hash)
        except InvalidTag as error:
            raise SharingError(Cause.NOT_AUTHENTIC, "handshake by another key or secret") from error
        self._advance(sealed)
        return payload

    def split(self) -> TransportKeys:
        to_server, to_client = _hkdf(self._chain, b"", 2)
        return TransportKeys(to_server, to_client, self._hash)

    def _advance(self, sealed: bytes) -> None:
        self._mix_hash(sealed)
        self._count += 1

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()


def _hkdf(chain: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Return Noise's HKDF: that of RFC 5869 with ``chain`` as salt and no info, cut in 32-byte pieces."""
    key = hmac.digest(chain, material, "sha256")
    pieces: list[bytes] = []
    for number in range(1, outputs + 1):
        before = pieces[-1] if pieces else b""
        pieces.append(hmac.digest(key, before + bytes([number]), "sha256"))
    return pieces


def _exchange(ours: X25519PrivateKey, theirs: bytes) -> bytes:
    try:
        return ours.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:  # a point of small order: the result would be zero whatever our key is
        raise SharingError(Cause.NOT_AUTHENTIC, "handshake with a degenerate key") from error


def _cut(message: bytes) -> tuple[bytes, bytes]:
    if not OVERHEAD_BYTES <= len(message) <= MAX_MESSAGE_BYTES:
        raise SharingError(
            Cause.WRONG_SIZE,
            f"handshake message of {len(message)} bytes, not {OVERHEAD_BYTES} to {MAX_MESSAGE_BYTES}",
        )
    return message[:KEY_BYTES], message[KEY_BYTES:]
