"""What the owner's register says so far: entry by entry, in memory; nothing of files."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from fedpriv.errors import UserError
from fedpriv.faces.false_accepts import FalseAccepts
from fedpriv.faces.parties import Admitted, Person, Refusal
from fedpriv.journal import Entry

DAY_MS = 24 * 3600 * 1000
MOST_BUDGET = 1_000_000

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_PUBLIC = re.compile("[0-9a-f]{64}")


class Registered:
    """People, callers and openings, as the entries of the register tell.

    Attributes:
        people: by id; never an answer from the moment that they are being deleted.
        leaving: by id, those whom the server may not have deleted yet.
        names: id by clear name, of both.
        places: id by block and slot, of ``people``.
        used: every block and slot that anybody ever had: an old copy of the gallery may have them there.
        enrolling: ids that the server may have taken and that are not enrolled.
        callers: by number.
        opened: when something was opened for each caller, or a name asked for that nobody has: milliseconds
            since 1970, in the order of charging.
        tickets: when each was opened.
        server: the server's signing key, 64 hexadecimal digits; None until it is pinned.
        model: digest of the model that the embeddings are from; likewise.
        false_accepts: of that model; None where it came without.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        self.people: dict[str, Person] = {}
        self.leaving: dict[str, Person] = {}
        self.names: dict[str, str] = {}
        self.places: dict[tuple[int, int], str] = {}
        self.used: set[tuple[int, int]] = set()
        self.enrolling: dict[str, None] = {}
        self.callers: dict[str, Admitted] = {}
        self.opened: dict[str, list[int]] = {}
        self.tickets: dict[str, int] = {}
        self.server: str | None = None
        self.model: str | None = None
        self.false_accepts: FalseAccepts | None = None

    def take(self, entry: Entry) -> None:
        """Take the next entry; for one that cannot be read, ValueError, TypeError or KeyError."""
        _TAKERS[entry["event"]](self, entry)

    def admitted(self, caller: str) -> Admitted:
        """Return a caller.

        Raises:
            Refusal: it is none, or no longer.
        """
        if caller not in self.callers:
            raise Refusal(
                "not_admitted", "this caller is not admitted, or no longer; ask the gallery's owner"
            )
        return self.callers[caller]

    def left(self, caller: str, default: int, now_ms: int) -> int:
        """Return how many openings a caller has left of the last 24 hours' budget, at least 1.

        Raises:
            Refusal: when the caller is none, or has none left.
        """
        admitted = self.admitted(caller)
        budget = default if admitted.budget is None else admitted.budget
        recent = [each for each in self.opened.get(caller, [])[-budget:] if each > now_ms - DAY_MS]
        if len(recent) >= budget:
            hours = (min(recent) + DAY_MS - now_ms) / 3_600_000
            raise Refusal(
                "budget_spent",
                f"the budget of {budget} openings in 24 hours is spent; one is free in {hours:.1f} h",
            )
        return budget - len(recent)

    def require_new_caller(self, name: str, budget: int | None) -> None:
        """Check a name and a budget.

        Raises:
            UserError: the name is taken or none, or the budget out of range.
        """
        if not _NAME.fullmatch(name):
            raise UserError(f"caller {name[:80]!r}: need 1 to 128 printable characters")
        if budget is not None and not 0 < budget <= MOST_BUDGET:
            raise UserError(f"--budget {budget}: choose 1 to {MOST_BUDGET} a day")
        if any(each.name == name for each in self.callers.values()):
            raise UserError(f"caller {name}: is admitted already; revoke it first or choose another name")

    def require_new(self, names: Sequence[str]) -> None:
        """Check names.

        Raises:
            UserError: one is taken, stands twice, or is no name.
        """
        for name in names:
            if not _NAME.fullmatch(name):
                raise UserError(f"{name[:80]!r}: is no name; give 1 to 128 printable characters")
            if self.names.get(name) in self.leaving:
                raise UserError(f"{name}: is not deleted to the end; `fedpriv faces delete {name}` again")
            if name in self.names:
                raise UserError(f"{name}: is enrolled already; `fedpriv faces delete {name}` first")
        if len(set(names)) < len(names):
            raise UserError(f"{max(names, key=list(names).count)}: stands twice; give every person once")

    def _take_enrolled(self, entry: Entry) -> None:
        block, slot = entry["at"]
        person = Person(str(entry["id"]), str(entry["name"]), int(block), int(slot))
        if person.name in self.names or person.id in self.people or person.id in self.leaving:
            raise ValueError("enrolled")
        self.enrolling.pop(person.id, None)
        self.people[person.id] = person
        self.names[person.name] = person.id
        self.places[person.block, person.slot] = person.id
        self.used.add((person.block, person.slot))

    def _take_enrolling(self, entry: Entry) -> None:
        self.enrolling.update(dict.fromkeys(str(each) for each in entry["ids"]))

    def _take_abandoned(self, entry: Entry) -> None:
        for each in entry["ids"]:
            self.enrolling.pop(each, None)

    def _take_removing(self, entry: Entry) -> None:
        person = self.people.pop(entry["id"])
        self._leave_place(person)
        self.leaving[person.id] = person

    def _take_removed(self, entry: Entry) -> None:
        where = self.leaving if entry["id"] in self.leaving else self.people
        person = where.pop(entry["id"])
        self._leave_place(person)
        del self.names[person.name]

    def _leave_place(self, person: Person) -> None:
        # who has come after them stays
        if self.places.get((person.block, person.slot)) == person.id:
            del self.places[person.block, person.slot]

    def _take_pinned(self, entry: Entry) -> None:
        server, model = entry["server"], entry["model"]
        if not (_PUBLIC.fullmatch(server) and _PUBLIC.fullmatch(model)):
            raise ValueError("no keys")
        self.server, self.model = server, model

    def _take_measured(self, entry: Entry) -> None:
        self.false_accepts = FalseAccepts.from_json(entry["false_accepts"])

    def _take_admitted(self, entry: Entry) -> None:
        budget: Any = entry["budget"]
        number = str(entry["caller"])
        self.callers[number] = Admitted(number, str(entry["name"]), None if budget is None else int(budget))

    def _take_revoked(self, entry: Entry) -> None:
        del self.callers[entry["caller"]]

    def _take_opened(self, entry: Entry) -> None:
        self._take_guessed(entry)
        self.tickets[str(entry["ticket"])] = int(entry["ms"])

    def _take_guessed(self, entry: Entry) -> None:
        # none is ever left out: a clock that runs ahead once would make all before it old
        self.opened.setdefault(str(entry["caller"]), []).append(int(entry["ms"]))


_TAKERS: dict[str, Callable[[Registered, Entry], None]] = {
    "enrolling": Registered._take_enrolling,
    "enrolled": Registered._take_enrolled,
    "abandoned": Registered._take_abandoned,
    "removing": Registered._take_removing,
    "removed": Registered._take_removed,
    "pinned": Registered._take_pinned,
    "measured": Registered._take_measured,
    "admitted": Registered._take_admitted,
    "revoked": Registered._take_revoked,
    "opened": Registered._take_opened,
    "guessed": Registered._take_guessed,
}
