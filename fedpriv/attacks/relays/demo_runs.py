"""The original's demonstration on its own design and on this one: two images, relay a is the adversary's."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from fedpriv.attacks.relays.original import Original
from fedpriv.attacks.relays.original_server import RELAYS, Band, Slot, slot
from fedpriv.errors import UserError
from fedpriv.relays.client import RelayClient
from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.relays.plan import Layout
from fedpriv.relays.sessions import now_ms
from fedpriv.relays.settings import ClientSettings
from fedpriv.services.outgoing import connections
from fedpriv.serving.answers import KINDS, Answer, decode_answer
from fedpriv.serving.image import GreyImage
from fedpriv.sharing.answer import Record, unpack_records
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.envelope import HEADER_BYTES, read_header
from fedpriv.sharing.session import ClientSession, SealedImage

ADVERSARY = RELAYS[0]
_PAUSE_S = 0.02
_ID = slice(24, 40)


@dataclass(frozen=True)
class Replay:
    """One replay of relay a's piece of image 1 while image 2 is under way.

    Attributes:
        how: what was done to it before.
        accepted: whether it became part of image 2, or was answered.
        cause: what came of it, in one word.
    """

    how: str
    accepted: bool
    cause: str


@dataclass(frozen=True, eq=False)
class OriginalRun:
    """What happened on the original's design.

    Attributes:
        slots: ids and relays of both images.
        received: by relay, the bands of each image.
        replays: as the band was, and with its id rewritten.
        images: both, as the model server has put them together in the second case.
        answers: of both, likewise.
    """

    slots: tuple[Slot, Slot]
    received: tuple[dict[str, Band], dict[str, Band]]
    replays: tuple[Replay, ...]
    images: tuple[GreyImage, ...]
    answers: tuple[Answer | None, ...]


@dataclass(frozen=True, eq=False)
class OurRun:
    """What happened here.

    Attributes:
        envelopes: of each image, by relay, in the order of the shares.
        replays: as the piece was, with its id rewritten, and under the header of image 2's.
        answers: of both images.
    """

    envelopes: tuple[dict[str, bytes], dict[str, bytes]]
    replays: tuple[Replay, ...]
    answers: tuple[Answer, ...]


async def on_original(eyes: Sequence[GreyImage], model: Callable[[GreyImage], Answer]) -> OriginalRun:
    """Send both images twice through the original's design; the second one meets a replay.

    The seed is one whose schedule gives relay a the middle band of both: the one with the iris.
    """
    middle = next(
        seed for seed in range(1 << 16) if all(slot(seed, image).servers[1] == ADVERSARY for image in (0, 1))
    )
    slots = slot(middle, 0), slot(middle, 1)
    replays = []
    async with Original(model, middle) as original:

        async def keep(band: Band) -> None:
            await original.deliver(band)  # and does not hand it over: the adversary keeps the first

        for how, rewritten in (("as it is", None), ("its id rewritten", slots[1].id)):
            original.begin()
            original.hostile = None
            first = await original.send(eyes[0])
            bands_of_first = dict(original.seen)
            original.hostile = keep

            async def between(sent: int, rewritten: int | None = rewritten) -> None:
                if sent == len(slots[1].servers) - 1:
                    await original.replay(rewritten)

            second = await original.send(eyes[1], between)
            accepted = len(second) != 1 or bool((second[0].image != eyes[1]).any())
            replays.append(Replay(how, accepted, "taken" if accepted else "dropped"))
        received = (
            {name: bands_of_first[name] for name in slots[0].servers},
            {name: original.seen[name] for name in slots[1].servers},
        )
    built = (*first, *second)
    return OriginalRun(
        slots,
        received,
        tuple(replays),
        tuple(each.image for each in built),
        tuple(each.answer for each in built),
    )


async def on_ours(eyes: Sequence[GreyImage], layout: Layout) -> OurRun:
    """Send both images through the services of a constellation with an adversary in relay a's place.

    Numbers whose images the schedule does not lead past relay a are left out.

    Raises:
        UserError: a service cannot be reached, or refuses a share that is the client's own.
    """
    settings = ClientSettings.read(layout.client_settings())
    async with RelayClient(settings) as client, connections(layout.ca) as http:
        session = await client.session()
        first, second = (_past_adversary(session, image) for image in eyes)
        answers = [await _answer(client, session, first, range(len(first.shares)))]
        loot = await _captured(http, layout, first)

        # relay a's piece and one more are in, and the last is not, when the adversary replays
        places = sorted(range(len(second.shares)), key=lambda which: second.shares[which].relay != ADVERSARY)
        waiting = asyncio.create_task(_answer(client, session, second, places[:-1]))
        try:
            replays = await _replays(http, layout, loot, await _captured(http, layout, second))
            answers.append(await _answer(client, session, second, places[-1:]))
            await waiting
        finally:
            waiting.cancel()
    envelopes = [{share.relay: share.envelope for share in image.shares} for image in (first, second)]
    return OurRun((envelopes[0], envelopes[1]), replays, tuple(answers))


async def _replays(
    http: aiohttp.ClientSession, layout: Layout, loot: int, current: int
) -> tuple[Replay, ...]:
    """Replay the piece that was captured as number ``loot``, beside one of the image under way."""
    old, new = await _piece(http, layout, loot), await _piece(http, layout, current)
    upstream = Courier(http, f"{layout.urls[f'relay-{ADVERSARY}']}/v1/shares")
    try:
        return (
            await _replayed(http, layout, loot),
            await _forged(upstream, "its id rewritten", old[: _ID.start] + new[_ID] + old[_ID.stop :]),
            await _forged(upstream, "under image 2's header", new[:HEADER_BYTES] + old[HEADER_BYTES:]),
        )
    finally:
        await upstream.close()


def _past_adversary(session: ClientSession, image: GreyImage) -> SealedImage:
    while True:
        sealed = session.seal(image, KINDS, now_ms())
        if any(share.relay == ADVERSARY for share in sealed.shares):
            return sealed


async def _answer(
    client: RelayClient, session: ClientSession, sealed: SealedImage, which: Sequence[int]
) -> Answer:
    """Send shares, again and again while the server says that it waits for others, and open the answer."""

    async def send(share: int) -> bytes:
        relay, envelope = sealed.shares[share]
        while True:
            record = await client.courier(relay).ask(envelope)
            if isinstance(record, bytes):
                found = unpack_records(record, 1)[0]
                if found.answer is not None:
                    return found.answer
                if found.cause is not Cause.BUSY:
                    raise UserError(f"relay {relay}: share {share + 1} was refused: {_label(found)}")
            await asyncio.sleep(_PAUSE_S)

    answers = await asyncio.gather(*(send(share) for share in which))
    return decode_answer(session.open_answer(sealed.number, answers[0]))


async def _captured(http: aiohttp.ClientSession, layout: Layout, sealed: SealedImage) -> int:
    """Wait until the adversary has a piece of an image, and return the piece's index."""
    url = f"{layout.urls['adversary']}/v1/captured"
    while True:
        async with http.get(url) as response:
            for each in (await response.json())["envelopes"]:
                if each["image"] == sealed.image.hex():
                    return int(each["index"])
        await asyncio.sleep(_PAUSE_S)


async def _piece(http: aiohttp.ClientSession, layout: Layout, index: int) -> bytes:
    async with http.get(f"{layout.urls['adversary']}/v1/captured/{index}") as response:
        piece = await response.read()
    read_header(piece)
    return piece


async def _replayed(http: aiohttp.ClientSession, layout: Layout, index: int) -> Replay:
    body = json.dumps({"indices": [index]}).encode()
    url, kind = f"{layout.urls['adversary']}/v1/replay", {"content-type": "application/json"}
    async with http.post(url, data=body, headers=kind) as response:
        cause = (await response.json())[0]["cause"]
    return Replay("as it is", cause is None, cause or "answered")


async def _forged(upstream: Courier, how: str, envelope: bytes) -> Replay:
    record = await upstream.ask(envelope)
    if isinstance(record, NotDelivered):
        raise UserError(f"relay {ADVERSARY}: {record.detail}")
    found = unpack_records(record, 1)[0]
    # "come again" means that the server has taken it
    return Replay(how, found.cause in (None, Cause.BUSY), _label(found))


def _label(record: Record) -> str:
    return "answered" if record.cause is None else record.cause.label
