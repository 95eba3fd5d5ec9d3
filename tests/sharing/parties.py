"""A client and a server that have opened a session, and whoever holds the keys and misuses them."""

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.sharing import payload
from fedpriv.sharing.admission import Admission, Offer, ServerSession
from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.commitment import commit
from fedpriv.sharing.envelope import Header, envelope_bytes, seal_share
from fedpriv.sharing.handshake import TransportKeys
from fedpriv.sharing.opening import ClientOpening, Credentials
from fedpriv.sharing.outcomes import ImageKey, Refused
from fedpriv.sharing.schedule import Schedule
from fedpriv.sharing.scheme import Scheme
from fedpriv.sharing.session import ClientSession

NOW = 1_700_000_000_000
RELAYS = ("a", "b", "c", "d")
ADDITIVE = Scheme("additive", 3, 3)
SHAMIR = Scheme("shamir", 3, 2)
OFFERED = {"relays": RELAYS, "models": ("gaze", "emotion"), "payload_bytes": 32, "window": 8}
SERVER = X25519PrivateKey.from_private_bytes(bytes(range(32)))
SERVER_PUBLIC = SERVER.public_key().public_bytes_raw()


def open_session(scheme=ADDITIVE, credentials=None, ahead_ms=0, **terms):
    """Return client's and server's end; the client's clock is ``ahead_ms`` ahead."""
    offered = {**OFFERED, **terms}
    credentials = credentials or Credentials.generate()
    admission = Admission(SERVER, {credentials.key_id: credentials.secret}, Offer(**offered))
    opening = ClientOpening(SERVER_PUBLIC, credentials, scheme, NOW + ahead_ms)
    reply, server = admission.admit(opening.message, NOW)
    return opening.finish(reply, NOW + ahead_ms), server


def seeded_session(scheme, seed, **terms):
    """Return both ends of a session whose keys follow from ``seed``, without a handshake."""
    source = np.random.default_rng(seed)
    credentials = Credentials(source.bytes(8), source.bytes(32))
    keys = TransportKeys(source.bytes(32), source.bytes(32), source.bytes(32))
    agreed = Offer(**{**OFFERED, **terms}).terms(source.bytes(16), NOW)
    server = ServerSession(
        client=credentials.key_id,
        terms=agreed,
        scheme=scheme,
        schedule=Schedule(credentials.secret, keys.transcript, agreed.relays, scheme.n),
        ends_ms=NOW + agreed.lifetime_ms,
        envelope_bytes=envelope_bytes(scheme, agreed.payload_bytes),
        to_server=ChaCha20Poly1305(keys.to_server),
        to_client=ChaCha20Poly1305(keys.to_client),
    )
    return ClientSession(credentials.secret, agreed, scheme, keys, NOW), server


def picture(seed=0, shape=(4, 5)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def forge(server, number, image=None, content=None, **header):
    """Return ``(relay, envelope)`` of each share as a holder of the keys could make them.

    The same arguments give the same bytes.
    """
    source = np.random.default_rng([number, 7])
    salt = source.bytes(32)
    if content is None:
        image = picture(number) if image is None else image
        content = payload.pack(image, (0,), server.terms.payload_bytes)
    slot = server.schedule.slot(number)
    fields = {
        "scheme": server.scheme.wire,
        "session": server.terms.session,
        "image": slot.image,
        "expiry_ms": server.ends_ms,
        "commitment": commit(salt, content),
        **header,
    }
    return [
        (relay, seal_share(server.to_server, Header(share=which, **fields), number, salt, share))
        for which, (relay, share) in enumerate(
            zip(slot.relays, server.scheme.split(content, source.bytes), strict=True)
        )
    ]


def started(scheme=ADDITIVE, limits=None, **terms):
    """Return client, server's session and an assembler that holds it."""
    client, server = open_session(scheme, **terms)
    assembler = Assembler(limits)
    assembler.add(server, NOW)
    return client, server, assembler


def send(assembler, shares, now_ms=NOW):
    return [assembler.accept(relay, envelope, now_ms) for relay, envelope in shares]


def key(server, number):
    return ImageKey(server.terms.session, number)


def refused(assembler, relay, envelope, now_ms=NOW):
    """Return the cause of a refusal that changed nothing but a counter."""
    before = assembler.gauges
    outcome = assembler.accept(relay, envelope, now_ms)
    assert isinstance(outcome, Refused)
    assert outcome.closed is None
    assert assembler.gauges == before
    assert assembler.counters[outcome.cause.label] >= 1
    return outcome.cause
