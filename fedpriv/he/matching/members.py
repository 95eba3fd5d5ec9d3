"""What the journal of a gallery adds up to: segments, and who is in them."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fedpriv.errors import UserError
from fedpriv.he.matching.places import Place, join_ids, require_id, split_ids
from fedpriv.he.users.sets import ParameterSet, parameter_set
from fedpriv.journal import Entry

Templates = Literal["encrypted", "plain"]
TEMPLATES: tuple[Templates, ...] = get_args(Templates)

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Segment:
    """A file of ciphertexts, or of templates in clear, that fill some slots of one block; zero in all others.

    Attributes:
        name: SHA-256 of the file, hexadecimal, which is also its name.
        size: bytes.
        place: the slots it fills, those of deleted people included.
        signed: made by the owner; otherwise the server's sum of others.
        plain: in clear.
    """

    name: str
    size: int
    place: Place
    signed: bool
    plain: bool = False

    @property
    def file(self) -> str:
        """Name in the folder of segments."""
        return f"{self.name}.{'fppt' if self.plain else 'fpct'}"


class Members:
    """Segments and people of one gallery.

    Attributes:
        key: fingerprint of the key pair; empty before the first line.
        parameters: of the key pair.
        dim: dimensions of an embedding.
        plain: whether templates are in clear: all or none.
        segments: by name, in the order of their arrival.
        places: block and slot of everybody, by name.
        given: who was the last to be given each (block, slot), deleted people included.
    """

    def __init__(self) -> None:
        """Nothing known yet."""
        self.key, self.dim, self.plain = "", 0, False
        self.parameters: ParameterSet
        self.segments: dict[str, Segment] = {}
        self.places: dict[str, tuple[int, int]] = {}
        self.given: dict[tuple[int, int], str] = {}
        self._people: dict[str, set[str]] = {}
        self._segment_of: dict[str, str] = {}
        self._ever: set[str] = set()

    def take(self, entry: Entry) -> None:
        """Take in one line of the journal.

        Raises:
            ValueError, TypeError, KeyError: for a line that does not fit; nothing of it is remembered.
        """
        try:
            self._take(entry)
        except UserError as error:
            raise ValueError(str(error)) from error

    def _take(self, entry: Entry) -> None:
        event = entry["event"]
        if event == "gallery" and not self.key:
            parameters = parameter_set(str(entry["set"]))
            key, dim = _digest(entry["key"]), int(entry["dim"])
            # galleries from before there were plain ones do not say
            templates = entry.get("templates", "encrypted")
            if templates not in TEMPLATES:
                raise ValueError("templates")
            self.parameters, self.key, self.dim = parameters, key, dim
            self.plain = templates == "plain"
        elif event == "added" and self.key:
            self._check_added(entry["segment"], ())
            self._add(*self._read(entry["segment"]))
        elif event == "deleted" and self.key:
            self.require(entry["ids"])
            self._delete(entry["ids"])
        elif event == "replaced" and self.key:
            old = [self.segments[name] for name in dict.fromkeys(entry["segments"])]
            self._check_added(entry["by"], old)
            segment, ids = self._read(entry["by"])
            for each in old:
                self._remove(each.name)
            self._add(segment, ids)
        else:
            raise ValueError(event)

    def require(self, ids: Iterable[str]) -> None:
        """Check that people are enrolled, each named once.

        Raises:
            UserError: when one is not.
            ValueError: when one is named twice.
        """
        seen = set()
        for each in ids:
            if require_id(each) not in self.places:
                raise UserError(f"person {each}: is not enrolled; name one who is")
            if each in seen:
                raise ValueError(f"person {each}: named twice")
            seen.add(each)

    def problem(self, segment: Segment, ids: Sequence[str], old: Collection[Segment] = ()) -> str | None:
        """Say why a segment cannot be added, in the stead of ``old`` ones; None when it can."""
        if segment.name in self._ever:
            return "was added before; encrypt anew"
        leaving = {each for one in old for each in self._people[one.name]}
        if twice := next((each for each in ids if each in self.places and each not in leaving), None):
            return f"person {twice} is enrolled already; give another name"
        kept = [each for each in self.segments.values() if each not in old]
        taken = self._taken(kept).get(segment.place.block, set())
        if clash := taken.intersection(segment.place.slots):
            return f"slot {min(clash)} of block {segment.place.block} is taken; ask for free places again"
        return None

    def given_before(self, segment: Segment, ids: Sequence[str]) -> str | None:
        """Say why people cannot have the slots of a segment: other people had them; None when they can.

        A slot is one person's for ever. Were it given to another, whoever knows people by their slots, as the
        owner does, would name them by each other's faces, once this gallery was restored from an older copy.
        Journals from before this rule are read all the same.
        """
        block = segment.place.block
        for person, slot in zip(ids, segment.place.slots, strict=True):
            if self.given.get((block, slot), person) != person:
                return f"slot {slot} of block {block} was another person's; ask for free places again"
        return None

    def taken(self) -> list[set[int]]:
        """Return the slots that hold anything, for each block from 0, deleted people's included."""
        found = self._taken(self.segments.values())
        return [found[block] for block in range(max(found, default=-1) + 1)]

    def used(self) -> list[set[int]]:
        """Return the slots that were ever given to anybody, for each block from 0."""
        found = self._taken(self.segments.values())
        for block, slot in self.given:
            found[block].add(slot)
        return [found[block] for block in range(max(found, default=-1) + 1)]

    def blocks(self) -> dict[int, list[Segment]]:
        """Return the segments of each block that has any."""
        found: dict[int, list[Segment]] = defaultdict(list)
        for segment in self.segments.values():
            found[segment.place.block].append(segment)
        return dict(found)

    def people_in(self, name: str) -> dict[str, tuple[int, int]]:
        """Return the people of a segment who are not deleted, by slot."""
        people = {each: self.places[each] for each in self._people[name]}
        return dict(sorted(people.items(), key=lambda item: item[1]))

    def stale(self) -> list[str]:
        """Return the segments that still hold deleted people."""
        return [
            each.name
            for each in self.segments.values()
            if len(self._people[each.name]) < len(each.place.slots)
        ]

    def line(self, segment: Segment, people: dict[str, int]) -> dict[str, Any]:
        """Return what a journal line says of a segment with the slots of its living people."""
        order = sorted(people, key=people.__getitem__)
        living = Place(segment.place.block, tuple(people[each] for each in order))
        return {
            "name": segment.name,
            "bytes": segment.size,
            "signed": segment.signed,
            "place": segment.place.to_json(self.parameters.slots),
            "living": living.to_json(self.parameters.slots),
            "ids": join_ids(order),
        }

    def _read(self, data: Entry) -> tuple[Segment, dict[str, int]]:
        place = Place.from_json(data["place"], self.parameters)
        living = Place.from_json(data["living"], self.parameters)
        if living.block != place.block or not set(living.slots) <= set(place.slots):
            raise ValueError("living")
        ids = split_ids(data["ids"], len(living.slots))
        segment = Segment(_digest(data["name"]), int(data["bytes"]), place, bool(data["signed"]), self.plain)
        return segment, dict(zip(ids, living.slots, strict=True))

    def _check_added(self, data: Entry, old: Collection[Segment]) -> None:
        segment, people = self._read(data)
        if problem := self.problem(segment, list(people), old):
            raise ValueError(problem)

    def _add(self, segment: Segment, people: dict[str, int]) -> None:
        self.segments[segment.name] = segment
        self._ever.add(segment.name)
        self._people[segment.name] = set(people)
        for each, slot in people.items():
            self.places[each], self._segment_of[each] = (segment.place.block, slot), segment.name
            self.given[segment.place.block, slot] = each

    def _delete(self, ids: Iterable[str]) -> None:
        for each in ids:
            name = self._segment_of[each]
            self._forget(each)
            self._people[name].discard(each)
            if not self._people[name]:
                self._remove(name)

    def _remove(self, name: str) -> None:
        for each in self._people.pop(name):
            self._forget(each)
        del self.segments[name]

    def _forget(self, person: str) -> None:
        del self.places[person], self._segment_of[person]

    @staticmethod
    def _taken(segments: Iterable[Segment]) -> defaultdict[int, set[int]]:
        found: defaultdict[int, set[int]] = defaultdict(set)
        for each in segments:
            found[each.place.block].update(each.place.slots)
        return found


def _digest(text: object) -> str:
    if not isinstance(text, str) or not _DIGEST.match(text):
        raise ValueError("digest")
    return text
