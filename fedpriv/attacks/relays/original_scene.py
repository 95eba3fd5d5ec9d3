"""Where the attacks on the original's design take place."""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from fedpriv.attacks.relays.original import Original
from fedpriv.attacks.relays.original_server import RELAYS, Band, Built
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.serving.image import GreyImage

ATTACKER = RELAYS[0]
_EYES = 16


class Scene:
    """The seven servers, and pictures to send; one attempt after another."""

    def __init__(self, original: Original, slow_s: float) -> None:
        """Attack ``original``; ``slow_s`` is how long a slow sender stalls."""
        self.original, self.slow_s = original, slow_s
        # every third pixel: the design does not care, and a hundred attempts take less long
        self._eyes = render_person(0, 0, _EYES).images[:, 0, ::3, ::3]
        self.attempt, self._next = 0, 0

    def begin(self, attempt: int) -> None:
        """Start both ends anew, with a seed of their own for every attempt."""
        self.attempt = attempt
        self.original.hostile = self.original.captured = None
        self.original.begin(seed=attempt)

    def eye(self) -> GreyImage:
        """Return the next picture."""
        self._next += 1
        return np.ascontiguousarray(self._eyes[self._next % _EYES])

    async def capture(self) -> Band:
        """Send images until one has passed relay A, and return its band."""
        while self.original.captured is None:
            await self.original.send(self.eye())
        return self.original.captured

    async def attacked(self, between: Callable[[int], Awaitable[None]] | None = None) -> bool:
        """Send images until one passes relay A, which now is hostile; tell whether that went wrong.

        No image before it is disturbed: ``between`` is the attacker's, who waits for an id.
        """
        hostile, self.original.hostile = self.original.hostile, None
        while ATTACKER not in self.original.slot.servers:
            await self.original.send(self.eye())
        self.original.hostile = hostile
        image = self.eye()
        return wrong(await self.original.send(image, between), image)


def wrong(built: Sequence[Built], image: GreyImage) -> bool:
    """Tell whether anything but ``image``, once, was put together; nothing at all is not wrong, but lost."""
    return len(built) > 1 or any(not np.array_equal(each.image, image) for each in built)
