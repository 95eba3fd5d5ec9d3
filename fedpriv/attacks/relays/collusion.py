"""All relays of an image but one put together what they hold."""

import math

import numpy as np
from numpy.typing import NDArray

from fedpriv.attacks.relays.said import TAKEN
from fedpriv.attacks.relays.scene import Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once, rounds
from fedpriv.attacks.relays.victim import Victim
from fedpriv.sharing.additive import combine
from fedpriv.sharing.commitment import SALT_BYTES
from fedpriv.sharing.envelope import HEADER_BYTES, TAG_BYTES, open_share
from fedpriv.sharing.payload import HEADER_BYTES as SIZE_BYTES

FAR = 7.0
"""Standard deviations: correlation with noise of as many pixels lies beyond with probability 3e-12."""


async def colluding_relays(scene: Scene, attempts: int) -> Tally:
    """All relays but one, n - 1 of them, put their pieces together and guess the rest, as if it were zero.

    In turn: what they hold, which is sealed; the same opened, as if the sealing had been broken; and they
    finish the set themselves, with a piece made of theirs in the place of the one that they lack. The
    guess is laid over the image pixel by pixel: the attacker is even told where it begins, and its size.

    Accepted: the guess correlates with the image (Pearson's r over pixels) beyond 7 standard deviations
    of chance, or the model server took the made-up piece.
    """
    tally = Tally()
    if scene.plan.scheme.kind != "additive":
        raise ValueError("colluding_relays: written for additive shares")
    for start, count in zip(range(0, attempts, 50), rounds(attempts, 50), strict=True):
        victim = await Victim.open(scene)

        async def one(number: int, victim: Victim = victim) -> None:
            sealed = victim.seal()
            missing = number % len(sealed.pieces)
            bodies = [
                np.frombuffer(piece[HEADER_BYTES + SALT_BYTES : -TAG_BYTES], np.uint8)
                for which, piece in enumerate(sealed.pieces)
                if which != missing
            ]
            image = scene.honest.images[sealed.picture]
            kind = "sealed"
            if number % 3 == 1:
                kind = "opened"
                held = scene.opened_pieces or len(bodies)
                pieces = sealed.pieces if held > len(bodies) else _but(sealed.pieces, missing)
                numbers = [
                    which for which in range(len(sealed.pieces)) if held > len(bodies) or which != missing
                ]
                bodies = [
                    np.frombuffer(open_share(victim.cipher, piece, sealed.number, which)[1], np.uint8)
                    for which, piece in zip(numbers, pieces, strict=True)
                ]
            if number % 3 == 2:
                made = bytearray(sealed.pieces[missing][:HEADER_BYTES])
                made += _but(sealed.pieces, missing)[0][HEADER_BYTES:]
                said = await scene.share(sealed.relays[missing], bytes(made))
                tally.note(said.label in TAKEN, f"made_up_piece_{said.label}")
            else:
                seen = resembles(combine(np.stack(bodies)), image)
                tally.note(seen, f"{kind}_pieces_as_noise")
            tally.victim(*await victim.deliver(sealed))

        await at_once(range(start, start + count), one)
    return tally


def resembles(guess: NDArray[np.uint8], image: NDArray[np.uint8]) -> bool:
    """Tell whether a guessed payload shows its image: |r| of pixels and guess beyond chance.

    Args:
        guess: bytes of a payload, uint8.
        image: (H, W) uint8.

    Edge cases:
        - An image, or guess, of one grey level resembles nothing.
    """
    pixels = image.ravel().astype(np.float64)
    found = guess[SIZE_BYTES : SIZE_BYTES + pixels.size].astype(np.float64)
    if not pixels.std() or not found.std():
        return False
    return bool(abs(np.corrcoef(pixels, found)[0, 1]) > FAR / math.sqrt(pixels.size))


def _but(pieces: tuple[bytes, ...], missing: int) -> tuple[bytes, ...]:
    return pieces[:missing] + pieces[missing + 1 :]
