"""Bodies for the services that are nearly right: what random bytes never are."""

import asyncio
import io
import struct
import time

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fedpriv.relays.settings import ClientSettings
from fedpriv.services.secret_files import read_secret
from fedpriv.sharing.opening import ClientOpening, Credentials
from fedpriv.sharing.payload import pack
from tests.relays.running import Running

_HEADER = struct.Struct(">3sBBBBB16s16sQ32sI")  # as documented in fedpriv.sharing.envelope
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def sealed_shares(running: Running, client: str, images: int) -> list[bytes]:
    """Authentic envelopes of a session that is open."""
    picture = np.arange(36 * 60, dtype=np.uint8).reshape(36, 60)

    async def go() -> list[bytes]:
        async with running.client(client) as asking:
            session = await asking.session()
            sealed = [session.seal(picture, ("gaze", "emotion"), now_ms()) for _ in range(images)]
            return [share.envelope for each in sealed for share in each.shares]

    return asyncio.run(go())


def first_messages(running: Running, client: str, count: int) -> list[bytes]:
    """First messages of handshakes; each opens a session once."""
    settings = ClientSettings.read(running.layout.client_settings(client))
    credentials = Credentials(bytes.fromhex(settings.key_id), read_secret(settings.secret_file, 32))
    public = bytes.fromhex(settings.server_public)
    return [
        ClientOpening(public, credentials, settings.scheme, now_ms()).message  # as it was at the start
        for _ in range(count)
    ]


def made_envelopes() -> st.SearchStrategy[bytes]:
    """Headers of any fields, with a body of the length that they announce."""
    small = st.integers(0, 255)
    return st.builds(
        lambda version, kind, share, n, t, ids, expiry, body: (
            _HEADER.pack(b"FPS", version, kind, share, n, t, ids, ids, expiry, ids * 2, len(body)) + body
        ),
        st.sampled_from([0, 1, 1, 1, 2]),
        st.integers(0, 3),
        small,
        small,
        small,
        st.binary(min_size=16, max_size=16),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=200),
    )


@st.composite
def mutated(draw: st.DrawFn, original: st.SearchStrategy[bytes]) -> bytes:
    """As it is, or with one byte changed, or cut short, or with something behind it."""
    body = bytearray(draw(original))
    how = draw(st.sampled_from(["as it is", "change", "cut", "append"]))
    if how == "change":
        body[draw(st.integers(0, min(len(body) - 1, 120)))] ^= draw(st.integers(1, 255))
    elif how == "cut":
        del body[draw(st.integers(0, len(body) - 1)) :]
    elif how == "append":
        body += draw(st.binary(min_size=1, max_size=100))
    return bytes(body)


def octets(envelopes: list[bytes], messages: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bodies for every route that takes octets."""
    authentic = st.sampled_from(envelopes)
    batches = st.lists(st.one_of(authentic, made_envelopes()), min_size=1, max_size=70).map(b"".join)
    images = st.builds(
        lambda height, width, wanted: pack(np.zeros((height, width), np.uint8), wanted, 4104),
        st.integers(1, 64),
        st.integers(1, 64),
        st.sets(st.integers(0, 7), min_size=1).map(tuple),
    )
    return st.one_of(
        st.binary(max_size=300),
        mutated(made_envelopes()),
        mutated(authentic),
        batches,
        mutated(st.sampled_from(messages)),
        mutated(st.lists(images, min_size=1, max_size=3).map(b"".join)),
    )


def _picture(mode: str, height: int, width: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 77 if mode in ("L", "1", "P", "I;16") else None).save(buffer, kind)
    return buffer.getvalue()


def pictures() -> st.SearchStrategy[bytes]:
    """Picture files of several kinds and modes, some of them damaged."""
    side = st.one_of(st.integers(1, 200), st.sampled_from([1, 7, 8, 3000]))
    good = st.one_of(
        st.builds(_picture, st.sampled_from(["L", "RGB"]), side, side, st.sampled_from(_FORMATS)),
        st.builds(
            _picture, st.sampled_from(["1", "P", "LA", "RGBA", "I;16", "RGB"]), side, side, st.just("PNG")
        ),
    )
    return st.one_of(mutated(good), good, st.binary(max_size=200))
