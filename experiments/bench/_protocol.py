"""What the protocol itself costs per image: the calls of client and model server, without a network."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from fedpriv.serving.answers import KINDS, encode_answer
from fedpriv.serving.model_set import ModelSet
from fedpriv.sharing.admission import Admission, Offer
from fedpriv.sharing.answer import MAX_CONTENT_BYTES
from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.envelope import envelope_bytes
from fedpriv.sharing.opening import ClientOpening, Credentials
from fedpriv.sharing.outcomes import Complete
from fedpriv.sharing.scheme import Scheme

_TIMES = 300
_TOGETHER, _BATCHES = 64, 5


def protocol_us(
    images: Sequence[NDArray[np.uint8]], models: ModelSet, relays: tuple[str, ...], scheme: Scheme
) -> dict[str, float]:
    """Return microseconds of processor time per image of this thread, medians over a few hundred images.

    Returns:
        ``seal``: the client's whole: payload, shares, commitment, n envelopes; ``accept``: the server's:
        all checks, n envelopes opened, shares put together, commitment checked; ``answer``: sealing and
        opening the answer. Parts of these: ``sharing``: cutting a payload and putting it together;
        ``aead``: ChaCha20-Poly1305 of n envelopes and an answer, sealed and opened. Beside them
        ``inference``: the models' own, on one thread, in batches of 64.
    """
    now_ms, credentials, static = 1_000_000_000, Credentials.generate(), X25519PrivateKey.generate()
    offer = Offer(relays, KINDS)
    admission = Admission(static, {credentials.key_id: credentials.secret}, offer)
    opening = ClientOpening(static.public_key().public_bytes_raw(), credentials, scheme, now_ms)
    reply, admitted = admission.admit(opening.message, now_ms)
    session, assembler = opening.finish(reply, now_ms), Assembler()
    assembler.add(admitted, now_ms)
    content = encode_answer(models.answer(images[:1], [KINDS])[0])
    clocks = {name: _Clock() for name in ("seal", "accept", "answer", "sharing", "aead")}
    cipher, nonce = ChaCha20Poly1305(secrets.token_bytes(32)), bytes(12)
    sizes = [*[envelope_bytes(scheme, offer.payload_bytes)] * scheme.n, MAX_CONTENT_BYTES]
    texts, payload = [secrets.token_bytes(size) for size in sizes], secrets.token_bytes(offer.payload_bytes)
    for turn in range(_TIMES):
        sealed = clocks["seal"].on(session.seal, images[turn % len(images)], KINDS, now_ms)

        def accept(shares: Any = sealed.shares) -> Complete:
            *_, last = [assembler.accept(relay, envelope, now_ms) for relay, envelope in shares]
            assert isinstance(last, Complete), last  # noqa: S101 - in order, and the last of its set
            return last

        image = clocks["accept"].on(accept).image

        def answer(image: Any = image, number: int = sealed.number) -> bytes:
            return session.open_answer(number, assembler.answered(image, content, now_ms))

        clocks["answer"].on(answer)
        clocks["sharing"].on(_share, scheme, payload)
        clocks["aead"].on(_seal_and_open, cipher, nonce, texts)
    found = {name: clock.median_us() for name, clock in clocks.items()}
    return {**found, "inference": _inference_us(images, models)}


def _inference_us(images: Sequence[NDArray[np.uint8]], models: ModelSet) -> float:
    many, clock, threads = (
        [images[turn % len(images)] for turn in range(_TOGETHER)],
        _Clock(),
        torch.get_num_threads(),
    )
    torch.set_num_threads(1)  # as the model server has it
    try:
        for _ in range(_BATCHES):
            clock.on(models.answer, many, [KINDS] * _TOGETHER)
    finally:
        torch.set_num_threads(threads)
    return round(clock.median_us() / _TOGETHER, 1)


def _share(scheme: Scheme, payload: bytes) -> None:
    scheme.combine(dict(enumerate(scheme.split(payload))), len(payload))


def _seal_and_open(cipher: ChaCha20Poly1305, nonce: bytes, texts: Sequence[bytes]) -> None:
    for text in texts:
        cipher.decrypt(nonce, cipher.encrypt(nonce, text, None), None)


class _Clock:
    """Times calls by the processor time of this thread."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def on(self, call: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.thread_time()
        result = call(*arguments)
        self._seconds.append(time.thread_time() - begun)
        return result

    def median_us(self) -> float:
        return round(1e6 * float(np.median(self._seconds)), 1)
