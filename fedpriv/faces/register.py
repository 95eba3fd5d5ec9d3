"""The owner's register: who is enrolled where, who may ask, and what was opened for whom.

One journal in the owner's folder (``faces/register.jsonl``, mode 0600): the clear names stand here and
nowhere else. Commands of the owner and the key holder's service share it, each seeing at once what the others
wrote.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.faces.false_accepts import FalseAccepts
from fedpriv.faces.parties import Admitted, Person, Refusal
from fedpriv.faces.registered import Registered
from fedpriv.journal import Journal, own_folder

BUDGET = 32
"""Openings a day for a caller, unless the owner says otherwise."""


class Register:
    """Reads and writes the journal; see :class:`~fedpriv.journal.Journal` for what that guarantees.

    Guarantee:
        - What a method has written is synced to disk when it returns: an opening is charged before anything
          is decrypted, and charged whatever comes of it.
        - A ticket is opened once, over any number of processes and starts.
        - What the server was asked to take or delete is written down before it is asked: whoever is
          interrupted leaves behind what the next command has to do.
    """

    def __init__(self, owner: Path) -> None:
        """Name the owner's folder, the one with its keys."""
        self.path = owner / "faces" / "register.jsonl"
        self._known = Registered()
        self._journal = Journal(
            self.path, self._known.take, "nothing is enrolled or opened with it; restore it from a copy"
        )

    def people(self) -> list[Person]:
        """Return all who are enrolled."""
        with self._journal.reading():
            return list(self._known.people.values())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other command of the owner's changes the gallery, and hold them off inside the block.

        The key holder goes on: what it reads and charges has a lock of its own.

        Raises:
            UserError: when the folder cannot be used.
        """
        own_folder(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(self.path.with_name("owner.lock"), flags, 0o600), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def find(self, name: str) -> Person:
        """Return the person of a name.

        Raises:
            Refusal: when nobody of that name is enrolled, or they are being deleted.
        """
        with self._journal.reading():
            person = self._known.people.get(self._known.names.get(name, ""))
        if person is None:
            raise Refusal("unknown_person", f"{name[:80]}: nobody of that name is enrolled")
        return person

    def person(self, number: str) -> Person:
        """Return the person of an id.

        Raises:
            Refusal: when nobody with it is enrolled, or they are being deleted.
        """
        with self._journal.reading():
            if number not in self._known.people:
                raise Refusal("unknown_person", "nobody with this id is enrolled; ask for the name again")
            return self._known.people[number]

    def at(self, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Person]:
        """Return who is at each of these (block, slot); nobody, and people deleted, are left out."""
        with self._journal.reading():
            return {
                each: self._known.people[self._known.places[each]]
                for each in places
                if each in self._known.places
            }

    def callers(self) -> list[Admitted]:
        """Return all callers that are admitted."""
        with self._journal.reading():
            return list(self._known.callers.values())

    def require_new(self, names: Sequence[str]) -> None:
        """Check names before anything is encrypted for them.

        Raises:
            UserError: when one is taken, stands twice, or is no name.
        """
        with self._journal.reading():
            self._known.require_new(names)

    def unused(self, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return those of (block, slot) that nobody ever had."""
        with self._journal.reading():
            return [each for each in places if each not in self._known.used]

    def begin(self, ids: Sequence[str]) -> None:
        """Write down ids that the server is about to be asked to take.

        They are unfinished until :meth:`enrol` or :meth:`abandon`.
        """
        with self._journal.writing() as append:
            append([{"event": "enrolling", "ids": list(ids)}])

    def unfinished(self) -> list[str]:
        """Return the ids that the server may have taken, of an enrolment that did not end."""
        with self._journal.reading():
            return list(self._known.enrolling)

    def abandon(self, ids: Sequence[str]) -> None:
        """Write down that the server does not have these ids, or no longer."""
        with self._journal.writing() as append:
            append([{"event": "abandoned", "ids": list(ids)}])

    def enrol(self, people: Sequence[Person]) -> None:
        """Write down people whom the server has taken.

        Raises:
            UserError: as :meth:`require_new`, and when somebody has or had one of their places.
        """
        with self._journal.writing() as append:
            self._known.require_new([each.name for each in people])
            places = [(each.block, each.slot) for each in people]
            if len(set(places)) < len(places) or not self._known.used.isdisjoint(places):
                raise UserError(f"{self.path}: two people in one place of the gallery; ask for places again")
            append(
                [
                    {"event": "enrolled", "id": each.id, "name": each.name, "at": [each.block, each.slot]}
                    for each in people
                ]
            )

    def leave(self, name: str) -> Person:
        """Write down that a person is being deleted, and return them: never an answer again.

        It may be asked again until :meth:`remove`.

        Raises:
            Refusal: when nobody of that name is enrolled or being deleted.
        """
        with self._journal.writing() as append:
            number = self._known.names.get(name, "")
            if person := self._known.leaving.get(number):
                return person
            if number not in self._known.people:
                raise Refusal("unknown_person", f"{name[:80]}: nobody of that name is enrolled")
            append([{"event": "removing", "id": number}])
            return self._known.leaving[number]

    def remove(self, ids: Sequence[str]) -> None:
        """Write down that the server has deleted these people; of ids that it does not know, nothing."""
        with self._journal.writing() as append:
            known = self._known.people.keys() | self._known.leaving.keys()
            append([{"event": "removed", "id": each} for each in dict.fromkeys(ids) if each in known])

    def pin(self, server: str, model: str) -> None:
        """Remember the server's signing key and the model that the embeddings are from, or compare with them.

        Args:
            server: Ed25519, 64 hexadecimal digits.
            model: digest.

        Raises:
            UserError: when another one was remembered.
        """
        with self._journal.writing() as append:
            if self._known.server is None:
                append([{"event": "pinned", "server": server, "model": model}])
            elif self._known.server != server:
                raise UserError(
                    f"{self.path}: knows the server by the key {self._known.server[:16]}, this one has "
                    f"{server[:16]}; "
                    "ask the server that the gallery is on"
                )
            elif self._known.model != model:
                raise UserError(
                    f"{self.path}: enrolled with the model {str(self._known.model)[:16]}, this one is "
                    f"{model[:16]}; scores of two models cannot be compared: use the first"
                )

    def measure(self, false_accepts: FalseAccepts) -> None:
        """Remember what was measured with the model that people are enrolled by; the last counts."""
        with self._journal.writing() as append:
            if self._known.false_accepts != false_accepts:
                append([{"event": "measured", "false_accepts": false_accepts.to_json()}])

    def measured(self) -> FalseAccepts | None:
        """Return what was measured with the model that people are enrolled by; None where nothing was."""
        with self._journal.reading():
            return self._known.false_accepts

    def knows_server(self) -> bool:
        """Return whether a server's key is remembered already."""
        with self._journal.reading():
            return self._known.server is not None

    def pinned(self) -> tuple[str, str]:
        """Return the server's key and the model's digest.

        Raises:
            UserError: when nobody has been enrolled yet.
        """
        with self._journal.reading():
            if self._known.server is None or self._known.model is None:
                raise UserError(f"{self.path}: nobody is enrolled yet; run `fedpriv faces enroll` first")
            return self._known.server, self._known.model

    def admit(self, number: str, name: str, budget: int | None) -> None:
        """Write down a caller.

        Raises:
            UserError: when the name is taken or no name, or the budget out of range.
        """
        with self._journal.writing() as append:
            self._known.require_new_caller(name, budget)
            append([{"event": "admitted", "caller": number, "name": name, "budget": budget}])

    def require_new_caller(self, name: str, budget: int | None) -> None:
        """Check before a key is made; raises as :meth:`admit`."""
        with self._journal.reading():
            self._known.require_new_caller(name, budget)

    def revoke(self, name: str) -> None:
        """Take a caller out: nothing is opened for it from now on.

        Raises:
            UserError: when there is none of that name.
        """
        with self._journal.writing() as append:
            found = [each.number for each in self._known.callers.values() if each.name == name]
            if not found:
                raise UserError(f"caller {name[:80]}: is not admitted; nothing is revoked")
            append([{"event": "revoked", "caller": each} for each in found])

    def require_admitted(self, caller: str) -> None:
        """Check that a caller is still one.

        Raises:
            Refusal: when not.
        """
        with self._journal.reading():
            self._known.admitted(caller)

    def charge(self, caller: str, ticket: str, default: int, now_ms: int) -> int:
        """Charge one opening, synced to disk, and return how many are left of the last 24 hours' budget.

        Edge cases:
            - A clock that is set ahead and back forgets nothing: an opening charged at a later time than now
              counts, however much later.

        Args:
            caller: number on its card.
            ticket: SHA-256, hexadecimal.
            default: budget of callers without one of their own.
            now_ms: milliseconds since 1970.

        Raises:
            Refusal: when the caller was revoked or its budget is spent, or the ticket was opened before.
        """
        with self._journal.writing() as append:
            left = self._known.left(caller, default, now_ms)
            if ticket in self._known.tickets:
                raise Refusal("opened_before", "this ticket was opened before; ask the server for a new one")
            append([{"event": "opened", "caller": caller, "ticket": ticket, "ms": now_ms}])
            return left - 1

    def look_up(self, caller: str, name: str, default: int, now_ms: int) -> Person:
        """Return the person of a name, and charge the caller an opening for a name that nobody has.

        Args:
            caller: number on its card.
            name: clear.
            default: budget of callers without one of their own.
            now_ms: milliseconds since 1970.

        Raises:
            Refusal: when the caller was revoked or its budget is spent, whoever is asked for; when nobody of
                that name is enrolled.
        """
        with self._journal.writing() as append:
            self._known.left(caller, default, now_ms)
            person = self._known.people.get(self._known.names.get(name, ""))
            if person is None:
                append([{"event": "guessed", "caller": caller, "ms": now_ms}])
                raise Refusal("unknown_person", f"{name[:80]}: nobody of that name is enrolled")
            return person
