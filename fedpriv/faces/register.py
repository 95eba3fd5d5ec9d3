"""The owner's register: who is enrolled where, who may ask, and what was opened for whom.

One journal in the owner's folder (``faces/register.jsonl``, mode 0600): the clear names stand here and
nowhere else. Commands of the owner and the key holder's service share it, each seeing at once what the others
wrote.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.faces.parties import Admitted, Person, Refusal
from fedpriv.journal import Entry, Journal

DAY_MS = 24 * 3600 * 1000
BUDGET = 32
"""Openings a day for a caller, unless the owner says otherwise."""
MOST_BUDGET = 1_000_000

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_PUBLIC = re.compile("[0-9a-f]{64}")


class Register:
    """Reads and writes the journal; see :class:`~fedpriv.journal.Journal` for what that guarantees.

    Guarantee:
        - What a method has written is synced to disk when it returns: an opening is charged before anything
          is decrypted, and charged whatever comes of it.
        - A ticket is opened once, over any number of processes and starts.
    """

    def __init__(self, owner: Path) -> None:
        """Name the owner's folder, the one with its keys."""
        self.path = owner / "faces" / "register.jsonl"
        self._people: dict[str, Person] = {}
        self._names: dict[str, str] = {}
        self._places: dict[tuple[int, int], str] = {}
        self._callers: dict[str, Admitted] = {}
        self._opened: dict[str, list[int]] = {}
        self._tickets: dict[str, int] = {}
        self._server: str | None = None
        self._model: str | None = None
        self._journal = Journal(
            self.path, self._take, "nothing is enrolled or opened with it; restore it from a copy"
        )

    def people(self) -> list[Person]:
        """Return all who are enrolled."""
        with self._journal.reading():
            return list(self._people.values())

    def find(self, name: str) -> Person:
        """Return the person of a name.

        Raises:
            Refusal: when nobody of that name is enrolled.
        """
        with self._journal.reading():
            if name not in self._names:
                raise Refusal("unknown_person", f"{name[:80]}: nobody of that name is enrolled")
            return self._people[self._names[name]]

    def at(self, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Person]:
        """Return who is at each of these (block, slot); nobody, and people deleted, are left out."""
        with self._journal.reading():
            return {each: self._people[self._places[each]] for each in places if each in self._places}

    def callers(self) -> list[Admitted]:
        """Return all callers that are admitted."""
        with self._journal.reading():
            return list(self._callers.values())

    def require_new(self, names: Sequence[str]) -> None:
        """Check names before anything is encrypted for them.

        Raises:
            UserError: when one is taken, stands twice, or is no name.
        """
        with self._journal.reading():
            self._require_new(names)

    def enrol(self, people: Sequence[Person]) -> None:
        """Write down people whom the server has taken.

        Raises:
            UserError: as :meth:`require_new`.
        """
        with self._journal.writing() as append:
            self._require_new([each.name for each in people])
            append(
                [
                    {"event": "enrolled", "id": each.id, "name": each.name, "at": [each.block, each.slot]}
                    for each in people
                ]
            )

    def remove(self, ids: Sequence[str]) -> None:
        """Write down that these people are no longer enrolled: they are never an answer again."""
        with self._journal.writing() as append:
            append([{"event": "removed", "id": each} for each in ids if each in self._people])

    def pin(self, server: str, model: str) -> None:
        """Remember the server's signing key and the model that the embeddings are from, or compare with them.

        Args:
            server: Ed25519, 64 hexadecimal digits.
            model: digest.

        Raises:
            UserError: when another one was remembered.
        """
        with self._journal.writing() as append:
            if self._server is None:
                append([{"event": "pinned", "server": server, "model": model}])
            elif self._server != server:
                raise UserError(
                    f"{self.path}: knows the server by the key {self._server[:16]}, this one has "
                    f"{server[:16]}; "
                    "ask the server that the gallery is on"
                )
            elif self._model != model:
                raise UserError(
                    f"{self.path}: enrolled with the model {str(self._model)[:16]}, this one is "
                    f"{model[:16]}; scores of two models cannot be compared: use the first"
                )

    def pinned(self) -> tuple[str, str]:
        """Return the server's key and the model's digest.

        Raises:
            UserError: when nobody has been enrolled yet.
        """
        with self._journal.reading():
            if self._server is None or self._model is None:
                raise UserError(f"{self.path}: nobody is enrolled yet; run `fedpriv faces enroll` first")
            return self._server, self._model

    def admit(self, number: str, name: str, budget: int | None) -> None:
        """Write down a caller.

        Raises:
            UserError: when the name is taken or no name, or the budget out of range.
        """
        with self._journal.writing() as append:
            self._require_new_caller(name, budget)
            append([{"event": "admitted", "caller": number, "name": name, "budget": budget}])

    def require_new_caller(self, name: str, budget: int | None) -> None:
        """Check before a key is made; raises as :meth:`admit`."""
        with self._journal.reading():
            self._require_new_caller(name, budget)

    def revoke(self, name: str) -> None:
        """Take a caller out: nothing is opened for it from now on.

        Raises:
            UserError: when there is none of that name.
        """
        with self._journal.writing() as append:
            found = [each.number for each in self._callers.values() if each.name == name]
            if not found:
                raise UserError(f"caller {name[:80]}: is not admitted; nothing is revoked")
            append([{"event": "revoked", "caller": each} for each in found])

    def require_admitted(self, caller: str) -> None:
        """Check that a caller is still one.

        Raises:
            Refusal: when not.
        """
        with self._journal.reading():
            self._admitted(caller)

    def charge(self, caller: str, ticket: str, default: int, now_ms: int) -> int:
        """Charge one opening, synced to disk, and return how many are left of the last 24 hours' budget.

        Args:
            caller: number on its card.
            ticket: SHA-256, hexadecimal.
            default: budget of callers without one of their own.
            now_ms: milliseconds since 1970.

        Raises:
            Refusal: when the caller was revoked or its budget is spent, or the ticket was opened before.
        """
        with self._journal.writing() as append:
            admitted = self._admitted(caller)
            if ticket in self._tickets:
                raise Refusal("opened_before", "this ticket was opened before; ask the server for a new one")
            budget = default if admitted.budget is None else admitted.budget
            recent = [each for each in self._opened.get(caller, []) if each > now_ms - DAY_MS]
            if len(recent) >= budget:
                hours = (recent[-budget] + DAY_MS - now_ms) / 3_600_000
                raise Refusal(
                    "budget_spent",
                    f"the budget of {budget} openings in 24 hours is spent; one is free in {hours:.1f} h",
                )
            append([{"event": "opened", "caller": caller, "ticket": ticket, "ms": now_ms}])
            return budget - len(recent) - 1

    def _admitted(self, caller: str) -> Admitted:
        if caller not in self._callers:
            raise Refusal(
                "not_admitted", "this caller is not admitted, or no longer; ask the gallery's owner"
            )
        return self._callers[caller]

    def _require_new_caller(self, name: str, budget: int | None) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(f"caller {name[:80]!r}: need 1 to 128 printable characters")
        if budget is not None and not 0 < budget <= MOST_BUDGET:
            raise UserError(f"--budget {budget}: choose 1 to {MOST_BUDGET} a day")
        if any(each.name == name for each in self._callers.values()):
            raise UserError(f"caller {name}: is admitted already; revoke it first or choose another name")

    def _require_new(self, names: Sequence[str]) -> None:
        for name in names:
            if not _NAME.fullmatch(name):
                raise UserError(f"{name[:80]!r}: is no name; give 1 to 128 printable characters")
            if name in self._names:
                raise UserError(f"{name}: is enrolled already; `fedpriv faces delete {name}` first")
        if len(set(names)) < len(names):
            raise UserError(f"{max(names, key=list(names).count)}: stands twice; give every person once")

    def _take(self, entry: Entry) -> None:
        _TAKERS[entry["event"]](self, entry)

    def _take_enrolled(self, entry: Entry) -> None:
        block, slot = entry["at"]
        person = Person(str(entry["id"]), str(entry["name"]), int(block), int(slot))
        self._people[person.id] = person
        self._names[person.name] = person.id
        self._places[person.block, person.slot] = person.id

    def _take_removed(self, entry: Entry) -> None:
        person = self._people.pop(entry["id"])
        del self._names[person.name], self._places[person.block, person.slot]

    def _take_pinned(self, entry: Entry) -> None:
        server, model = entry["server"], entry["model"]
        if not (_PUBLIC.fullmatch(server) and _PUBLIC.fullmatch(model)):
            raise ValueError("no keys")
        self._server, self._model = server, model

    def _take_admitted(self, entry: Entry) -> None:
        budget: Any = entry["budget"]
        number = str(entry["caller"])
        self._callers[number] = Admitted(number, str(entry["name"]), None if budget is None else int(budget))

    def _take_revoked(self, entry: Entry) -> None:
        del self._callers[entry["caller"]]

    def _take_opened(self, entry: Entry) -> None:
        when = int(entry["ms"])
        times = self._opened.setdefault(str(entry["caller"]), [])
        times[:] = [each for each in times if each > when - DAY_MS] + [when]
        self._tickets[str(entry["ticket"])] = when


_TAKERS: dict[str, Callable[[Register, Entry], None]] = {
    "enrolled": Register._take_enrolled,
    "removed": Register._take_removed,
    "pinned": Register._take_pinned,
    "admitted": Register._take_admitted,
    "revoked": Register._take_revoked,
    "opened": Register._take_opened,
}
