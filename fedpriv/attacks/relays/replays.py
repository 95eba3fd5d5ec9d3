"""Used pieces sent again: the original's own attack, and its kin.

All pieces are genuine: an attacker in a relay's place saw them pass. What comes back for a used piece is
``already_used`` and, for some time, the sealed answer that its sender got before: an idempotent retry, which
tells the attacker nothing and is no acceptance. The model server's own counters tell the two apart: of
shares that it accepted, and of images that it inferred.
"""

import asyncio
import json
import time
from functools import partial

from fedpriv.attacks.relays.said import ANSWERED, TAKEN, Said, together
from fedpriv.attacks.relays.scene import Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once, rounds
from fedpriv.attacks.relays.victim import Sealed, Victim
from fedpriv.relays.adversary import CAPTURED, REPLAY
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.session import SHARE_LIFETIME_MS

_AGAIN_MS = 1500
_UNDER_WAY_S = 0.05
_FIELD_SESSION, _FIELD_IMAGE = slice(8, 24), slice(24, 40)


async def replay_while_next(scene: Scene, attempts: int) -> Tally:
    """The adversary in relay a's place sends its piece of one image again while the next is under way.

    Accepted: the model server took the used piece into a set, inferred once more, or answered either image
    otherwise than rightly.
    """
    tally = Tally()
    for count in rounds(attempts, 20):
        await _while_next(scene, count, tally)
    return tally


async def _while_next(scene: Scene, count: int, tally: Tally) -> None:
    victim, adversary = await Victim.open(scene), scene.url("adversary")
    async with scene.http.delete(adversary + CAPTURED):
        pass
    firsts: list[Sealed] = []
    while len(firsts) < count:
        sealed = victim.seal()
        if "a" in sealed.relays:
            firsts.append(sealed)
    for right in await at_once(firsts, partial(_through, victim)):
        tally.victim(right)
    async with scene.http.get(adversary + CAPTURED) as reply:
        seen = {each["image"]: each["index"] for each in (await reply.json())["envelopes"]}
    nexts = [victim.seal() for _ in range(count)]
    last = len(nexts[0].pieces) - 1
    under_way = [asyncio.create_task(victim.send(each, which)) for each in nexts for which in range(last)]
    await asyncio.sleep(_UNDER_WAY_S)
    for cause in await _replay(scene, [seen[each.image.image.hex()] for each in firsts]):
        tally.note(cause in TAKEN, cause)
    for right, retries in await at_once(nexts, partial(victim.deliver, pieces=[last])):
        tally.victim(right, retries)
    await asyncio.gather(*under_way)


async def replay_later(scene: Scene, attempts: int) -> Tally:
    """All pieces of an answered image again, each through its relay; half when its answer is forgotten.

    Accepted: the model server took a piece again, inferred the image again, or sealed another answer to it.
    """
    tally = Tally()
    for count in rounds(attempts, 100):
        victim, used = await _used(scene, count, tally)
        await _again(victim, used[: count // 2], tally)
        await asyncio.sleep(scene.server.retention_s + 0.3)
        await _again(victim, used[count // 2 :], tally)
    return tally


async def replay_other_session(scene: Scene, attempts: int) -> Tally:
    """A piece used in one session, relabelled to another of the same client, before that one's own piece.

    The relay knows the other session and the id of an image under way there from the headers that pass. Every
    second piece keeps its own image id.

    Accepted: the model server took the piece into a set of the other session, or an image of either is not
    answered rightly.
    """
    tally = Tally()
    for count in rounds(attempts, 50):
        _, used = await _used(scene, count, tally)
        new = await Victim.open(scene)

        async def one(pair: tuple[int, Sealed], new: Victim = new) -> None:
            index, before = pair
            sealed = new.seal()
            piece = bytearray(before.pieces[0])
            piece[_FIELD_SESSION] = sealed.pieces[0][_FIELD_SESSION]
            if index % 2:
                piece[_FIELD_IMAGE] = sealed.pieces[0][_FIELD_IMAGE]
            said = await scene.share(sealed.relays[0], bytes(piece))
            tally.note(said.label in TAKEN, said.label)
            tally.victim(*await new.deliver(sealed))

        await at_once(enumerate(used), one)
    return tally


async def replay_after_expiry(scene: Scene, attempts: int) -> Tally:
    """All pieces of an answered image again, after the expiry in their headers.

    Accepted: the model server took a piece again, inferred the image again, or sealed another answer to it.
    """
    tally = Tally()
    for count in rounds(attempts, 100):
        victim, used = await _used(scene, count, tally, share_ms=_AGAIN_MS)
        await asyncio.sleep(_AGAIN_MS / 1000 + 0.1)
        await _again(victim, used, tally)
    return tally


async def replay_after_restart(scene: Scene, attempts: int) -> Tally:
    """The model server is killed and started again; then all pieces of an image, each through its relay.

    Half of the images were answered before; the pieces of the others were kept back by the relays, so that no
    memory of what was used could tell. Honest traffic goes on meanwhile.

    Accepted: the model server took a piece of a session that it had before it was killed.
    """
    tally = Tally()
    held: list[tuple[Victim, list[Sealed]]] = []
    for count in rounds(attempts, 100):
        victim, used = await _used(scene, count - count // 2, tally)
        held.append((victim, used + [victim.seal() for _ in range(count // 2)]))
    await asyncio.to_thread(scene.services.restart, "model_server")
    await scene.honest.rest()
    await scene.mark()  # its counters began anew
    scene.honest.start()
    for victim, images in held:
        await _again(victim, images, tally)
    return tally


async def _used(
    scene: Scene, count: int, tally: Tally, share_ms: int = SHARE_LIFETIME_MS
) -> tuple[Victim, list[Sealed]]:
    """Return a session and images of it that were answered."""
    victim = await Victim.open(scene, share_ms=share_ms)
    images = [victim.seal() for _ in range(count)]
    for right, retries in await at_once(images, victim.deliver):
        tally.victim(right, retries)
    return victim, images


async def _again(victim: Victim, images: list[Sealed], tally: Tally) -> None:
    """Replay whole images."""

    async def one(sealed: Sealed) -> None:
        said = await asyncio.gather(
            *(victim.scene.share(*pair) for pair in zip(sealed.relays, sealed.pieces, strict=True))
        )
        tally.note(any(_afresh(victim, sealed, each) for each in said), together(said))

    await at_once(images, one)


def _afresh(victim: Victim, sealed: Sealed, said: Said) -> bool:
    """Tell whether a used piece was taken, or brought another answer than before."""
    before = victim.sent.get(sealed.number)
    other = said.answer is not None and (before is None or said.answer != before.answer)
    return said.label in TAKEN or other


async def _through(victim: Victim, sealed: Sealed) -> bool:
    """Deliver an image, relay a's piece by way of the adversary."""
    said = await asyncio.gather(
        *(
            victim.send(sealed, which, "adversary" if relay == "a" else None)
            for which, relay in enumerate(sealed.relays)
        )
    )
    return any(each.label == ANSWERED and victim.right(sealed, each) for each in said)


async def _replay(scene: Scene, indices: list[int], tries: int = 3) -> list[str]:
    """Have the adversary replay pieces; again, when ``busy`` came too soon to be said of a held piece."""
    begun, body = time.monotonic(), json.dumps({"indices": indices})
    async with scene.http.post(
        scene.url("adversary") + REPLAY, data=body, headers={"content-type": "application/json"}
    ) as reply:
        causes = [each["cause"] or ANSWERED for each in await reply.json()]
    early = time.monotonic() - begun < 0.5 * scene.server.hold_s
    if early and Cause.BUSY.label in causes and tries > 1:
        return await _replay(scene, indices, tries - 1)
    return causes
