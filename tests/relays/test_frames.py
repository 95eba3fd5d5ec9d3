"""Frames: every record arrives once, at its position, however the stream is cut."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.relays.frames import FrameReader, ReplyStream
from fedpriv.sharing.causes import SharingError


@given(st.data())
def test_what_is_put_in_any_order_is_read_from_any_pieces(data: st.DataObject) -> None:
    count, size = data.draw(st.integers(1, 64)), data.draw(st.integers(1, 20))
    order = data.draw(st.permutations(range(count)))
    records = {position: bytes([position]) * size for position in order}

    async def stream() -> bytes:
        replies = ReplyStream(count)
        for position in order:
            replies.put(position, records[position])
            replies.put(position, b"?" * size)  # a second one is ignored
        return b"".join([piece async for piece in replies.frames()])

    sent = asyncio.run(stream())
    reader, found = FrameReader(count, size), []
    while sent:
        cut = data.draw(st.integers(1, len(sent)))
        found += reader.feed(sent[:cut])
        sent = sent[cut:]
    assert found == [(position, records[position]) for position in order]
    assert not reader.open


def test_a_record_is_sent_while_others_are_awaited() -> None:
    async def go() -> None:
        replies = ReplyStream(2)
        frames = replies.frames()
        replies.put(1, b"x")
        assert await asyncio.wait_for(anext(frames), 5) == b"\x01x"
        replies.put(0, b"y")
        assert await asyncio.wait_for(anext(frames), 5) == b"\x00y"
        with pytest.raises(StopAsyncIteration):
            await anext(frames)

    asyncio.run(go())


@pytest.mark.parametrize(
    "pieces", [[b"\x00a", b"\x00b"], [b"\x02a"], [b"\x00a\x01b\x01"], [b"\x00a\x01b", b"x"]]
)
def test_a_server_that_lies_is_refused(pieces) -> None:
    reader = FrameReader(2, 1)
    for piece in pieces[:-1]:
        reader.feed(piece)
    with pytest.raises(SharingError):
        reader.feed(pieces[-1])
