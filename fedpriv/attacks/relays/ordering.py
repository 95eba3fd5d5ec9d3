"""Genuine pieces and answers in another order, twice, or at another image's place."""

import asyncio

from fedpriv.attacks.relays.said import ANSWERED, Said, together
from fedpriv.attacks.relays.scene import Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once, rounds
from fedpriv.attacks.relays.victim import Sealed, Victim
from fedpriv.sharing.causes import SharingError

_TOGETHER = 12


async def reorder(scene: Scene, attempts: int) -> Tally:
    """The pieces of twelve images in random order, and each image's client handed another one's answer.

    Harmless: every image must be answered rightly all the same.

    Accepted: a client opened another image's answer as its own, got a wrong one, or an image was inferred
    twice.
    """
    tally = Tally()
    for count in rounds(attempts, _TOGETHER):
        victim = await Victim.open(scene)
        images = [victim.seal() for _ in range(count)]
        order = [(image, which) for image in range(count) for which in range(len(images[0].pieces))]
        scene.random.shuffle(order)

        async def one(
            pair: tuple[int, int], victim: Victim = victim, images: list[Sealed] = images
        ) -> tuple[int, Said]:
            return pair[0], await victim.send(images[pair[0]], pair[1])

        said = {image: each for image, each in await at_once(order, one, most=64) if each.label == ANSWERED}
        for index, sealed in enumerate(images):
            others = [other for other in said if other != index]
            moved = bool(others) and _opens(victim, sealed, said[scene.random.choice(others)])
            if index in said:
                right, retries = victim.right(sealed, said[index]), 0
                tally.victim(right)
            else:
                right, retries = await victim.deliver(sealed)
                tally.victim(right, retries + 1)
            tally.note(moved or not right, "answer_not_authentic" if others else "answered_rightly")
    return tally


async def duplicate(scene: Scene, attempts: int) -> Tally:
    """Every piece twice at the same time, and once more after the answer.

    Accepted: the model server counted a piece twice, inferred an image twice, or gave two different answers.
    """
    tally = Tally()
    for count in rounds(attempts, 50):
        victim = await Victim.open(scene)

        async def one(_: int, victim: Victim = victim) -> None:
            sealed = victim.seal()
            which = [*range(len(sealed.pieces))] * 2
            said = await asyncio.gather(*(victim.send(sealed, each) for each in which))
            answers = {each.answer for each in said if each.label == ANSWERED}
            again = await asyncio.gather(
                *(scene.share(*pair) for pair in zip(sealed.relays, sealed.pieces, strict=True))
            )
            if answers:
                tally.victim(victim.right(sealed, Said(ANSWERED, next(iter(answers)))))
            else:
                right, retries = await victim.deliver(sealed)
                tally.victim(right, retries + 1)
            tally.note(
                len(answers) > 1 or any(each.label == ANSWERED for each in again),
                f"same_answer+{together(again)}",
            )

        await at_once(range(count), one, most=8)
    return tally


def _opens(victim: Victim, sealed: Sealed, said: Said) -> bool:
    try:
        victim.session.open_answer(sealed.number, said.answer or b"")
    except SharingError:
        return False
    return True
