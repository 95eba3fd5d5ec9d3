"""A gallery on the server's disk: files of templates, and a journal that says which of them count.

Templates are ciphertexts; or all are in clear (``plain``), where the server may know the faces that it is
asked about: then probes alone are encrypted, and an owner's signature says who is in it all the same.

``FOLDER/public.key``, ``gallery.jsonl`` with its ``.head`` (:mod:`fedpriv.journal`), ``segments/`` with one
file for each enrolment, ``inbox/`` for what is being received. A file is in ``segments/`` and synced
before the journal's line that makes it count, and is removed after the line that takes it out: a machine
that stops at any moment leaves the gallery as it was before or after, and perhaps a file that no line
names, removed by :meth:`Gallery.open`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.he.key_files import write_private
from fedpriv.he.matching.members import TEMPLATES, Members, Segment
from fedpriv.he.matching.people import Enrolment
from fedpriv.he.matching.places import Place, free_places
from fedpriv.he.matching.plain_files import inspected_plain, require_kind, write_merged
from fedpriv.he.matching.reading import inspected
from fedpriv.he.matching.segment_files import SegmentFiles
from fedpriv.he.matching.summing import summable, write_sum
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys
from fedpriv.journal import Journal

JOURNAL_FILE = "gallery.jsonl"
MOST_SEGMENTS = 16
"""Of one block, before the server sums them up: one person's enrolment takes as much disk as 4,096
people's."""

_Append = Callable[[Sequence[dict[str, Any]]], None]


class Gallery:
    """Who is enrolled, and the files that hold them; no template is kept in memory.

    Guarantee:
        - What a call has done is on disk before it returns, and after a crash at any point all of it is
          there or nothing.
        - Several objects, threads and processes may use one folder: each sees what the others did when it
          next does anything; they are held apart by the journal's lock.
        - An enrolment counts only with the signature of the owner of the key; one that was removed does not
          come back by being sent again.
        - A slot is given to one person ever: what an older copy of the gallery answers names nobody else.

    Edge cases:
        - A deleted person is never returned from then on; the ciphertext of one who was enrolled together
          with others stays in the file until the owner replaces it (:meth:`stale`, :meth:`replace`).
        - That a segment is zero outside its slots cannot be seen by the server: it is the owner's word.

    Attributes:
        folder: where it is.
        keys: the owner's public keys.
        files: where the ciphertexts are.
    """

    def __init__(self, folder: Path, keys: PublicKeys) -> None:
        """Name the folder; use :meth:`make` or :meth:`open`."""
        self.folder, self.keys = folder.absolute(), keys
        self._members, self.files = Members(), SegmentFiles(self.folder)
        self._journal = Journal(
            self.folder / JOURNAL_FILE,
            self._members.take,
            "the gallery is not used; restore its folder from a copy",
        )

    @classmethod
    def make(cls, folder: Path, keys: PublicKeys, dim: int = 128, plain: bool = False) -> "Gallery":
        """Begin an empty gallery in a new or empty folder; ``plain``, one of templates in clear.

        Raises:
            UserError: when there is one, the folder cannot be made, others may read it though it is plain,
                or ``dim`` is none.
        """
        if keys.set.purpose != "faces" or not 1 <= dim <= 1024:
            raise UserError(
                f"gallery: a key for {keys.set.purpose}, {dim} dimensions; faces and 1 to 1024 expected"
            )
        gallery = cls(folder, keys)
        if plain:
            gallery.files.require_private(())
        with gallery._journal.writing() as append:
            if gallery._members.key:
                raise UserError(f"{folder}: holds a gallery; name another folder")
            write_private(gallery.folder / PUBLIC_FILE, keys.to_bytes(), replace=True)
            gallery.files.make()
            begun = {"event": "gallery", "set": keys.set.name, "key": keys.fingerprint, "dim": dim}
            append([{**begun, "templates": TEMPLATES[plain]}])
        return gallery

    @classmethod
    def open(cls, folder: Path) -> "Gallery":
        """Open the gallery of a folder, and remove what a crash left over.

        Raises:
            UserError: when there is none, its journal is damaged, a file of it is missing or cut, or others
                may read it though it is plain.
        """
        journal = folder / JOURNAL_FILE
        # empty, where a machine stopped while it was made
        if not journal.exists() or not journal.stat().st_size:
            raise UserError(f"{folder}: holds no gallery; make one first")
        gallery = cls(folder, PublicKeys.load(folder / PUBLIC_FILE, "faces"))
        with gallery._journal.writing():
            key, segments = gallery._members.key, gallery._members.segments.values()
            if key != gallery.keys.fingerprint:
                raise UserError(
                    f"{folder / PUBLIC_FILE}: is not the key that the gallery was made with; restore it"
                    if key
                    else f"{folder}: holds no gallery; make one first"
                )
            gallery.files.check(segments)
            if gallery._members.plain:
                gallery.files.require_private(segments)
            gallery.files.sweep(segments, inbox=True)
        return gallery

    @property
    def dim(self) -> int:
        """Dimensions of an embedding."""
        with self._reading() as members:
            return members.dim

    @property
    def plain(self) -> bool:
        """Whether templates are in clear."""
        with self._reading() as members:
            return members.plain

    @property
    def inbox(self) -> Path:
        """Folder for files on their way to :meth:`add`, on the same disk; emptied by :meth:`open`."""
        return self.files.inbox

    @property
    def blocks(self) -> int:
        """Blocks up to the last one in use."""
        with self._reading() as members:
            return len(members.taken())

    def ids(self) -> list[str]:
        """Return the names of all people."""
        return list(self.places())

    def places(self) -> dict[str, tuple[int, int]]:
        """Return block and slot of everybody."""
        with self._reading() as members:
            return dict(members.places)

    def segments(self) -> dict[int, list[Segment]]:
        """Return the segments of each block that has any."""
        return self.snapshot()[0]

    def snapshot(self) -> tuple[dict[int, list[Segment]], dict[str, tuple[int, int]]]:
        """Return segments of each block, and block and slot of everybody, of one moment."""
        with self._reading() as members:
            return members.blocks(), dict(members.places)

    def place_of(self, person: str) -> tuple[int, int]:
        """Return block and slot.

        Raises:
            UserError: when nobody has that name.
        """
        with self._reading() as members:
            members.require([person])
            return members.places[person]

    def free(self, count: int) -> list[Place]:
        """Return where the owner is to put ``count`` people: slots that were nobody's; none is reserved.

        Raises:
            UserError: when there is no room: about 350,000 people, those deleted included.
        """
        with self._reading() as members:
            return free_places(members.used(), count, self.keys.set)

    def add(self, path: Path) -> list[str]:
        """Take in the enrolment in a file, which is moved from there, and return the names in it.

        Raises:
            FormatError: for a file that is none, in clear where the gallery is not or the other way round,
                damaged, not signed by the owner, or under another key.
            UserError: when a name or slot of it is taken, or the slot was another's, or it was added before;
                the file stays.
        """
        segment, enrolled = self._inspect(path)
        people = dict(zip(enrolled.ids, enrolled.place.slots, strict=True))
        with self._journal.writing() as append:
            self._require_room(path, segment, enrolled.ids)
            self.files.move(path, segment)
            append([{"event": "added", "segment": self._members.line(segment, people)}])
            # they are enrolled: a damaged neighbour or a full disk is for the next one who reads or writes
            with contextlib.suppress(UserError):
                self._sum_up(append, MOST_SEGMENTS, only=segment.place.block)
        return list(enrolled.ids)

    def delete(self, ids: Sequence[str]) -> None:
        """Take people out; a file with nobody left is removed.

        Raises:
            UserError: when one is not enrolled; then nobody is taken out.
        """
        with self._journal.writing() as append:
            self._members.require(ids)
            if ids:
                append([{"event": "deleted", "ids": list(ids)}])
            self.files.sweep(self._members.segments.values())

    def stale(self) -> list[str]:
        """Return the names of segments that still hold deleted people's ciphertexts."""
        with self._reading() as members:
            return members.stale()

    def segment(self, name: str) -> Path:
        """Return the file of a segment.

        Raises:
            UserError: when there is none of that name.
        """
        with self._reading() as members:
            return self.files.path_of(self._named(members, name))

    def people_in(self, name: str) -> dict[str, tuple[int, int]]:
        """Return block and slot of everybody in a segment who is not deleted."""
        with self._reading() as members:
            return members.people_in(self._named(members, name).name)

    def replace(self, names: Sequence[str], path: Path) -> None:
        """Put the owner's new enrolment in the stead of segments; who is only in those leaves.

        Raises:
            FormatError, UserError: as :meth:`add`, and when a segment is not in the gallery.
        """
        segment, enrolled = self._inspect(path)
        people = dict(zip(enrolled.ids, enrolled.place.slots, strict=True))
        with self._journal.writing() as append:
            old = [self._named(self._members, name) for name in dict.fromkeys(names)]
            self._require_room(path, segment, enrolled.ids, old)
            self.files.move(path, segment)
            self._replace(append, old, segment, people)
            self.files.sweep(self._members.segments.values())

    def compact(self, at_least: int = 2) -> None:
        """Sum up the segments of every block that has ``at_least`` of them; scores stay the same.

        A sum has at most 4,096 slots, so that its owner can encrypt it anew as one enrolment.
        """
        with self._journal.writing() as append:
            self._sum_up(append, at_least)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Members]:
        with self._journal.reading():
            yield self._members

    def _inspect(self, path: Path) -> tuple[Segment, Enrolment]:
        """Check every byte of a received file."""
        with self._reading() as members:
            plain, dim = members.plain, members.dim
        require_kind(path, plain)
        enrolled = (inspected_plain if plain else inspected)(path, self.keys, dim)
        return self.files.described(path, enrolled.place, signed=True, plain=plain), enrolled

    def _replace(
        self, append: _Append, old: Sequence[Segment], segment: Segment, people: dict[str, int]
    ) -> None:
        line = self._members.line(segment, people)
        append([{"event": "replaced", "segments": [each.name for each in old], "by": line}])

    def _sum_up(self, append: _Append, at_least: int, only: int | None = None) -> None:
        for block, segments in self._members.blocks().items():
            if len(segments) < at_least or only not in (None, block):
                continue
            for group in summable(segments):
                self._sum(append, block, group)
        self.files.sweep(self._members.segments.values())

    def _sum(self, append: _Append, block: int, segments: Sequence[Segment]) -> None:
        people = {
            each: slot for one in segments for each, (_, slot) in self._members.people_in(one.name).items()
        }
        slots = sorted(slot for each in segments for slot in each.place.slots)
        target, plain = self.inbox / f"sum-{block}", self._members.plain
        parts = [(self.files.path_of(each), each) for each in segments]
        (write_merged if plain else write_sum)(target, self.keys, parts, self._members.dim)
        summed = self.files.described(target, Place(block, tuple(slots)), signed=False, plain=plain)
        self.files.move(target, summed)
        self._replace(append, segments, summed, people)

    @staticmethod
    def _named(members: Members, name: str) -> Segment:
        if name not in members.segments:
            raise UserError(f"segment {name[:64]}: not in the gallery; ask again which there are")
        return members.segments[name]

    def _require_room(
        self, path: Path, segment: Segment, ids: Sequence[str], old: Sequence[Segment] = ()
    ) -> None:
        if problem := self._members.problem(segment, ids, old) or self._members.given_before(segment, ids):
            raise UserError(f"{path}: {problem}")
