"""One attempt of every attack on the original's design; each says whether it got what it wants."""

import asyncio
import contextlib

import numpy as np

from fedpriv.attacks.relays.original_scene import ATTACKER, Scene, wrong
from fedpriv.attacks.relays.original_server import BANDS, RELAYS, Band, bands, pixels
from fedpriv.seeding import generator

_OVERSIZED = (1 << 20) + 1
"""Bytes of a body: more than the relays here allow."""
_FLOOD = 16


async def replay_while_next(scene: Scene) -> bool:
    """Relay A's band of one image is posted again, as it is, after each band of the next."""
    await scene.capture()

    async def hostile(band: Band) -> None:
        await scene.original.deliver(band)  # without handing it over: what is replayed stays the one before

    async def between(_: int) -> None:
        await scene.original.replay()

    scene.original.hostile = hostile
    return await scene.attacked(between)


async def replay_later(scene: Scene) -> bool:
    """An old band is posted again when its image is answered, and again two images later."""
    old = await scene.capture()
    before = len(scene.original.built)
    await scene.original.deliver(old)
    again = len(scene.original.built) > before
    image = scene.eye()
    await scene.original.send(image)
    await scene.original.deliver(old)
    image = scene.eye()
    return again or wrong(await scene.original.send(image), image)


async def replay_after_restart(scene: Scene) -> bool:
    """Both ends restart with their seed; an old band is posted while its number is under way."""
    old = await scene.capture()
    number = scene.original.number - 1
    scene.original.begin()
    while scene.original.number < number:
        await scene.original.send(scene.eye())
    image = scene.eye()

    async def between(_: int) -> None:
        await scene.original.deliver(old)

    return wrong(await scene.original.send(image, between), image)


async def splice_two_images(scene: Scene) -> bool:
    """Relay A puts an old band under the id of the image under way, which it reads in clear."""
    old = await scene.capture()

    async def hostile(band: Band) -> None:
        await scene.original.deliver({**old, "id": band["id"]})

    scene.original.hostile = hostile
    return await scene.attacked()


async def swap_share_index(scene: Scene) -> bool:
    """Relay A's band claims to be each other relay's, too."""

    async def hostile(band: Band) -> None:
        for name in RELAYS[1:]:
            await scene.original.deliver({**band, "server": name})
        await scene.original.deliver(band)

    scene.original.hostile = hostile
    return await scene.attacked()


async def reorder(scene: Scene) -> bool:
    """The bands of one image arrive in any order."""
    original, image = scene.original, scene.eye()
    sent = bands(image, original.slot)
    before = len(original.built)
    for position in generator(scene.attempt, "reorder").permutation(BANDS):
        await original.pass_on(sent[position]["server"], sent[position])
    return wrong(original.built[before:], image)


async def duplicate(scene: Scene) -> bool:
    """A band is sent again and again, while its image is under way and after."""
    read: list[Band] = []

    async def hostile(band: Band) -> None:
        read.append(band)
        await scene.original.deliver(band)

    async def between(_: int) -> None:
        for band in read:
            await scene.original.deliver(band)

    scene.original.hostile = hostile
    return await scene.attacked(between)


async def drop(scene: Scene) -> bool:
    """Relay A passes its band on to nobody; one more image is sent after it."""

    async def hostile(band: Band) -> None:
        pass

    scene.original.hostile = hostile
    before = len(scene.original.built)
    await scene.attacked()
    sent = scene.original.number
    scene.original.hostile = None
    await scene.original.send(scene.eye())
    return len(scene.original.built) - before < sent


async def tamper_header(scene: Scene) -> bool:
    """Id and server are altered in turn, and the altered band is posted beside the real one."""
    read: list[Band] = []

    def altered(band: Band) -> Band:
        if scene.attempt % 2:
            return {**band, "id": band["id"] ^ 1}
        return {**band, "server": RELAYS[1 + scene.attempt // 2 % (len(RELAYS) - 1)]}

    async def hostile(band: Band) -> None:
        read.append(band)
        await scene.original.deliver(altered(band))
        await scene.original.deliver(band)

    async def between(_: int) -> None:
        if read:
            await scene.original.deliver(altered(read[0]))

    scene.original.hostile = hostile
    return await scene.attacked(between)


async def tamper_body(scene: Scene) -> bool:
    """Relay A passes on the negative of its band."""

    async def hostile(band: Band) -> None:
        negative = 255 - pixels(band)[..., None].astype(int)
        await scene.original.deliver({**band, "image_arr": negative.tolist()})

    scene.original.hostile = hostile
    return await scene.attacked()


async def wrong_relay(scene: Scene) -> bool:
    """A band is passed on by the relay that is not in the image's sequence."""
    before = len(scene.original.built)

    async def hostile(band: Band) -> None:
        unnamed = next(name for name in RELAYS if name not in scene.original.slot.servers)
        await scene.original.pass_on(unnamed, band)

    scene.original.hostile = hostile
    await scene.attacked()
    return len(scene.original.built) - before == scene.original.number


async def forged_relay(scene: Scene) -> bool:
    """A band is posted to the model server by no relay."""
    before = len(scene.original.built)

    async def hostile(band: Band) -> None:
        await scene.original.deliver(band)  # whoever may have it now: nothing of a relay's goes along

    scene.original.hostile = hostile
    await scene.attacked()
    return len(scene.original.built) - before == scene.original.number


async def forged_sender(scene: Scene) -> bool:
    """Whoever reads the id at relay A posts bands of an image of its own."""

    async def hostile(band: Band) -> None:
        made_up = np.full((4, 20, 1), 128).tolist()
        for name in RELAYS:
            await scene.original.deliver({"id": band["id"], "server": name, "image_arr": made_up})

    scene.original.hostile = hostile
    return await scene.attacked()


async def oversized_body(scene: Scene) -> bool:
    """A body of more than 1 MiB."""
    big = {"id": -1, "server": "a" * _OVERSIZED, "image_arr": []}
    return await scene.original.pass_on(ATTACKER, big) == 200


async def slow_sender(scene: Scene) -> bool:
    """A body that never ends."""
    host, port = scene.original.urls["model_server"].removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"POST /sendsplit/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), scene.slow_s)
            return False
        return True
    finally:
        writer.close()


async def half_finished_flood(scene: Scene) -> bool:
    """First bands of images that do not exist, between the bands of one that does."""
    image = scene.eye()
    random = generator(scene.attempt, "flood")

    async def between(_: int) -> None:
        for made_up in random.integers(1 << 31, size=_FLOOD):
            band = bands(image, scene.original.slot)[0]
            await scene.original.deliver({**band, "id": int(made_up)})

    built = await scene.original.send(image, between)
    return not built or wrong(built, image)


async def colluding_relays(scene: Scene) -> bool:
    """All relays of an image but one compare what they were given."""
    image = scene.eye()
    servers = scene.original.slot.servers
    await scene.original.send(image)
    rows = len(image) // BANDS
    known = sum(
        np.array_equal(pixels(scene.original.seen[name]), image[position * rows : (position + 1) * rows])
        for position, name in enumerate(servers[: BANDS - 1])
    )
    return known == BANDS - 1
