"""What relays hold of images, and the pictures that can be made of it pixel by pixel."""

import time

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedpriv.attacks.relays.original_server import BANDS
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.sharing.admission import Admission, Offer
from fedpriv.sharing.commitment import SALT_BYTES
from fedpriv.sharing.envelope import HEADER_BYTES, TAG_BYTES, open_share
from fedpriv.sharing.opening import ClientOpening, Credentials
from fedpriv.sharing.payload import HEADER_BYTES as SIZE_BYTES
from fedpriv.sharing.scheme import Scheme

_RELAYS = ("a", "b", "c", "d")
_Bytes = NDArray[np.uint8]


def eye_images(count: int, seed: int = 0) -> _Bytes:
    """Render (count, 36, 60) uint8 eyes of as many people."""
    return np.concatenate([render_person(seed, person, 1).images[:, 0] for person in range(count)])


def shared(images: _Bytes, shares: int = 3) -> tuple[_Bytes, _Bytes]:
    """Share and seal images as clients do, and open the seals as only the model server can.

    Args:
        images: (N, height, width) uint8.
        shares: n, at most 4.

    Returns:
        (N, n, payload) uint8 twice: what is sealed, without the sealed salt and the tag, and what is in it.
    """
    now_ms = time.time_ns() // 1_000_000
    credentials, static = Credentials.generate(), X25519PrivateKey.generate()
    offer = Offer(_RELAYS, ("gaze",), window=4 * len(images))
    admission = Admission(static, {credentials.key_id: credentials.secret}, offer)
    opening = ClientOpening(
        static.public_key().public_bytes_raw(), credentials, Scheme("additive", shares, shares), now_ms
    )
    reply, server = admission.admit(opening.message, now_ms)
    client = opening.finish(reply, now_ms)
    sealed, opened = [], []
    for image in images:
        sent = client.seal(image, ["gaze"], now_ms)
        sealed.append([body_of(share.envelope) for share in sent.shares])
        opened.append(
            [
                np.frombuffer(open_share(server.to_server, share.envelope, sent.number, which)[1], np.uint8)
                for which, share in enumerate(sent.shares)
            ]
        )
    return np.array(sealed), np.array(opened)


def body_of(envelope: bytes) -> _Bytes:
    """Return what is sealed in an envelope, byte for byte where the payload's are: no salt, no tag."""
    return np.frombuffer(envelope[HEADER_BYTES + SALT_BYTES : -TAG_BYTES], np.uint8)


def readings_of_pieces(pieces: _Bytes, height: int, width: int) -> _Bytes:
    """Read pieces of payloads as pictures: each by itself, and last the sum of all modulo 256.

    The attacker is told the image's size and where in the payload it lies.

    Args:
        pieces: (N, K, payload) uint8.
        height: of the images.
        width: of the images.

    Returns:
        (N, K + 1, height, width) uint8.
    """
    pixels = pieces[:, :, SIZE_BYTES : SIZE_BYTES + height * width]
    total = np.add.reduce(pixels, axis=1, dtype=np.uint8, keepdims=True)
    return np.concatenate([pixels, total], axis=1).reshape(len(pieces), -1, height, width)


def bands_read(images: _Bytes) -> _Bytes:
    """Return what n - 1 relays of the original's design make of images, each pair of bands in turn.

    The rows of the band that is missing are interpolated between those beside it, or repeat the nearest.

    Args:
        images: (N, height, width) uint8, height a multiple of 3.

    Returns:
        (N, 3, height, width) uint8; in picture j band j is missing.
    """
    height = images.shape[1]
    rows, third = np.arange(height), height // BANDS
    found = np.repeat(images[:, None], BANDS, axis=1)
    for missing in range(BANDS):
        lost = rows // third == missing
        known = rows[~lost]
        after = np.searchsorted(known, rows[lost])
        left, right = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
        share = (rows[lost] - left) / np.maximum(right - left, 1)
        share = np.clip(share, 0.0, 1.0)[:, None]
        guess = images[:, left] * (1.0 - share) + images[:, right] * share
        found[:, missing, lost] = np.rint(guess)
    return found
