"""Who is enrolled, who may ask, and what somebody is refused."""

from dataclasses import dataclass

from fedpriv.errors import UserError


@dataclass(frozen=True)
class Person:
    """Somebody in the gallery.

    Attributes:
        id: under which the server knows them: random.
        name: clear; it never leaves the owner's side but to a caller who is told an answer.
        block: of the gallery.
        slot: of that block.
    """

    id: str
    name: str
    block: int
    slot: int


@dataclass(frozen=True)
class Admitted:
    """A caller.

    Attributes:
        number: on its card.
        name: for the owner.
        budget: openings in any 24 hours; None for the key holder's default.
    """

    number: str
    name: str
    budget: int | None


class Refusal(UserError):
    """What a caller asked for and does not get.

    Attributes:
        cause: one of a few names.
    """

    def __init__(self, cause: str, message: str) -> None:
        """Refuse."""
        super().__init__(message)
        self.cause = cause
