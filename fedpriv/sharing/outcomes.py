"""What becomes of an envelope at the model server."""

from dataclasses import dataclass
from typing import NamedTuple

from fedpriv.sharing.causes import Cause
from fedpriv.sharing.payload import ImagePayload


class ImageKey(NamedTuple):
    """Names one image at the server: session id and number."""

    session: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """An authentic share of an image that has no answer yet.

    Attributes:
        image: whose answer to wait for.
        copy: the very same share came before.
    """

    image: ImageKey
    copy: bool


@dataclass(frozen=True, slots=True)
class Complete:
    """The share that completed its set: infer, then call ``answered`` or ``failed``.

    Attributes:
        image: which.
        payload: the image and the models wanted.
    """

    image: ImageKey
    payload: ImagePayload


@dataclass(frozen=True, slots=True)
class Refused:
    """A share that changed nothing, unless ``closed`` says so.

    Attributes:
        cause: why.
        answer: beside ``already_used``, the sealed answer that was given, while it is kept.
        closed: the image that this share ended; who waits for it is refused with the same cause.
    """

    cause: Cause
    answer: bytes | None = None
    closed: ImageKey | None = None


class Dropped(NamedTuple):
    """An image given up; who waits for it is refused with ``cause``."""

    image: ImageKey
    cause: Cause
