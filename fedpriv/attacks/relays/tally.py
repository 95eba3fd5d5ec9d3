"""Accounts: of an attack, of what was sent rightly beside it, and the model server's own."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Tally:
    """An attack's own account.

    Attributes:
        attempted: how often it was tried.
        accepted: how often the services did what the attack wants.
        refused_as: the other attempts by what came back.
        victims_sent: images of clients under attack.
        victims_lost: those without an answer, or with a wrong one.
        retries: how often such a client had to share an image anew.
    """

    attempted: int = 0
    accepted: int = 0
    refused_as: Counter[str] = field(default_factory=Counter)
    victims_sent: int = 0
    victims_lost: int = 0
    retries: int = 0

    def note(self, accepted: bool, label: str) -> None:
        """Count one attempt."""
        self.attempted += 1
        if accepted:
            self.accepted += 1
        else:
            self.refused_as[label] += 1

    def victim(self, right: bool, retries: int = 0) -> None:
        """Count one image of a client under attack."""
        self.victims_sent += 1
        self.victims_lost += not right
        self.retries += retries


class Account:
    """What victims sent in the right way, which the server's counters hold besides what attacks add.

    Attributes:
        shares: distinct pieces that the server took.
        images: numbers that were answered.
        asked: images answered to a whole client, each time that one was shared anew counted as well.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.shares: set[tuple[bytes, int, int]] = set()
        self.images: set[tuple[bytes, int]] = set()
        self.asked = 0


class Counters(NamedTuple):
    """The model server's own account, from its /metrics: the witness that no attack can talk to.

    Attributes:
        shares: accepted so far.
        images: inferred so far.
        partial_bytes: of shares that wait for others now.
        open_sets: now.
    """

    shares: int
    images: int
    partial_bytes: int
    open_sets: int
