"""Pieces changed on their way: by a relay that holds one and knows no key.

Each changed piece arrives before the genuine ones, the attacker's best chance; then the genuine ones
must still make up the image.
"""

from collections.abc import Callable

from fedpriv.attacks.relays.said import TAKEN
from fedpriv.attacks.relays.scene import Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once, rounds
from fedpriv.attacks.relays.victim import Sealed, Victim

FIELDS: dict[str, slice] = {
    "magic": slice(0, 3),
    "version": slice(3, 4),
    "scheme": slice(4, 5),
    "share": slice(5, 6),
    "n": slice(6, 7),
    "t": slice(7, 8),
    "session": slice(8, 24),
    "image": slice(24, 40),
    "expiry": slice(40, 48),
    "commitment": slice(48, 80),
    "length": slice(80, 84),
}
"""Every field of an envelope's clear header."""
_HEADER_BYTES = 84

Forge = Callable[[int, Sealed, Sealed], tuple[str, bytes]]
"""From the attempt's number, the image under attack and another one: relay and changed piece."""


async def tamper_header(scene: Scene, attempts: int) -> Tally:
    """Each field of the clear header changed in turn.

    Accepted: the model server took the changed piece into a set, or the image is not answered rightly.
    """
    names = list(FIELDS)

    def forge(number: int, sealed: Sealed, _: Sealed) -> tuple[str, bytes]:
        name = names[number % len(names)]
        field, which = FIELDS[name], number % len(sealed.pieces)
        piece = bytearray(sealed.pieces[which])
        old = bytes(piece[field])
        if name == "expiry":  # later, or it would be refused as expired
            piece[field] = (int.from_bytes(old, "big") + 3_600_000).to_bytes(8, "big")
        else:
            while bytes(piece[field]) == old:
                piece[field] = scene.random.randbytes(len(old))
        return sealed.relays[which], bytes(piece)

    return await _tamper(scene, attempts, forge)


async def tamper_body(scene: Scene, attempts: int) -> Tally:
    """One random bit of the sealed body changed: of salt, share or tag.

    Accepted: the model server took the changed piece into a set, or the image is not answered rightly.
    """

    def forge(number: int, sealed: Sealed, _: Sealed) -> tuple[str, bytes]:
        which = number % len(sealed.pieces)
        piece = bytearray(sealed.pieces[which])
        piece[scene.random.randrange(_HEADER_BYTES, len(piece))] ^= 1 << scene.random.randrange(8)
        return sealed.relays[which], bytes(piece)

    return await _tamper(scene, attempts, forge)


async def swap_share_index(scene: Scene, attempts: int) -> Tally:
    """A piece with the share index of another, through the relay of that index.

    Accepted: the model server took the piece into a set, or the image is not answered rightly.
    """

    def forge(number: int, sealed: Sealed, _: Sealed) -> tuple[str, bytes]:
        count = len(sealed.pieces)
        which, index = number % count, (number + 1) % count
        piece = bytearray(sealed.pieces[which])
        piece[FIELDS["share"]] = bytes([index])
        return sealed.relays[index], bytes(piece)

    return await _tamper(scene, attempts, forge)


async def splice_two_images(scene: Scene, attempts: int) -> Tally:
    """A piece of one image relabelled as the same share of another.

    In turn: with the other's image id; with its commitment too; and the other's whole header before this
    one's sealed body. A relay knows no more than that. A client that splices its own images is out of scope:
    it may ask what it likes.

    Accepted: the model server took the foreign piece into a set, or the image is not answered rightly.
    """

    def forge(number: int, sealed: Sealed, other: Sealed) -> tuple[str, bytes]:
        which = number % len(sealed.pieces)
        piece, target = bytearray(other.pieces[which]), sealed.pieces[which]
        fields = (
            [FIELDS["image"]],
            [FIELDS["image"], FIELDS["commitment"]],
            [slice(0, _HEADER_BYTES)],
        )
        for field in fields[number // len(sealed.pieces) % len(fields)]:
            piece[field] = target[field]
        return sealed.relays[which], bytes(piece)

    return await _tamper(scene, attempts, forge, others=True)


async def wrong_relay(scene: Scene, attempts: int) -> Tally:
    """A genuine piece through a relay that the schedule did not name for it.

    Accepted: the model server took the piece from that relay, or the image is not answered rightly.
    """

    def forge(number: int, sealed: Sealed, _: Sealed) -> tuple[str, bytes]:
        which = number % len(sealed.pieces)
        others = [name for name in scene.plan.names if name != sealed.relays[which]]
        return scene.random.choice(others), sealed.pieces[which]

    return await _tamper(scene, attempts, forge)


async def _tamper(scene: Scene, attempts: int, forge: Forge, others: bool = False) -> Tally:
    tally = Tally()
    for start, count in zip(range(0, attempts, 50), rounds(attempts, 50), strict=True):
        victim = await Victim.open(scene)

        async def one(number: int, victim: Victim = victim) -> None:
            sealed = victim.seal()
            other = victim.seal() if others else sealed
            relay, piece = forge(number, sealed, other)
            said = await scene.share(relay, piece)
            tally.note(said.label in TAKEN, said.label)
            tally.victim(*await victim.deliver(sealed))
            if others:
                tally.victim(*await victim.deliver(other))

        await at_once(range(start, start + count), one)
    return tally
