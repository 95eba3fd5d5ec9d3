"""The server: questions about a probe, from a gallery in memory."""

import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.matching.asking import Asker
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.lengths import weights
from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.people import EncryptedProbe, require_id, unit
from fedpriv.he.matching.places import Place, most_blocks
from fedpriv.he.matching.products import Probe, Products
from fedpriv.he.matching.question import Kind, Question
from fedpriv.he.matching.share import Share
from fedpriv.he.matching.workers import Workers
from fedpriv.he.users.public_keys import PublicKeys


class Matcher:
    """Holds a gallery's templates and makes questions of probes; use it in ``with``.

    A probe is encrypted (:func:`~fedpriv.he.matching.people.read_probe`) or, if the gallery is not plain, a
    plain (d,) vector, which is scaled to unit length. Everything that was enrolled or deleted before a call
    counts in it. Of several threads one is served at a time.
    """

    def __init__(self, gallery: Gallery, workers: int = 1) -> None:
        """Load the gallery, with several ``workers`` into as many processes.

        Raises:
            UserError: when a file of it is damaged, naming the file.
        """
        self._gallery, self._lock = gallery, threading.Lock()
        self._asker = Asker(gallery.keys)
        self._engine = Workers(gallery, workers) if workers > 1 else Share(gallery, 0, gallery.dim)
        try:
            self._engine.refresh()
        except BaseException:
            self.close()
            raise

    @property
    def memory_bytes(self) -> int:
        """Bytes of all templates held.

        For each block of 4,096 people and 128 dimensions 33.5 MB of ciphertexts, or 21 MB of plaintexts.
        """
        return self._engine.memory_bytes

    def refresh(self) -> None:
        """Load what was enrolled since; every question does it by itself."""
        with self._lock:
            self._engine.refresh()

    def verify(self, probe: Probe, person: str, threshold: float) -> Question:
        """Ask whether the score of one person is above the threshold.

        Raises:
            UserError: when nobody has that name, or the probe does not fit.
        """
        return self._ask("verify", probe, threshold, [person])

    def identify(self, probe: Probe, threshold: float) -> Question:
        """Ask who has the best score, if above the threshold; the key holder learns the order of all.

        Raises:
            UserError: when nobody is enrolled, the probe does not fit, or it is plain as the gallery is.
        """
        return self._ask("identify", probe, threshold, None)

    def accepted(self, probe: Probe, threshold: float) -> Question:
        """Ask whose scores are above the threshold; the key holder learns who, not by how much.

        Raises:
            UserError: as :meth:`identify`.
        """
        return self._ask("accepted", probe, threshold, None)

    def scores(self, probe: Probe, people: Sequence[str] | None = None) -> Question:
        """Ask for raw scores, of everybody or of some: fifty to two hundred of them give the probe away.

        Raises:
            UserError: as :meth:`identify` and :meth:`verify`.
        """
        return self._ask("scores", probe, 0.0, people)

    def close(self) -> None:
        """End the processes, if there are any."""
        if isinstance(self._engine, Workers):
            self._engine.close()

    def __enter__(self) -> "Matcher":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _current(self) -> tuple[dict[int, list[Segment]], dict[str, tuple[int, int]]]:
        """Bring the memory up to date, and return what it then holds: segments, and who is where."""
        while True:
            before, _ = self._gallery.snapshot()
            self._engine.refresh()
            # no name of a segment comes back, so that equal ones are what was loaded
            segments, places = self._gallery.snapshot()
            if segments == before:
                return segments, places

    def _ask(self, kind: Kind, probe: Probe, threshold: float, people: Sequence[str] | None) -> Question:
        given = _checked(probe, self._gallery.dim, threshold)
        if self._gallery.plain and not isinstance(given, EncryptedProbe):
            raise UserError("probe: in clear, and this gallery is plain: nothing would be hidden; encrypt it")
        with self._lock:
            segments, places = self._current()
            for person in people or ():
                if person not in places:
                    raise UserError(f"person {require_id(person)}: is not enrolled; name one who is")
            names = {places[each]: each for each in (places if people is None else people)}
            if not names:
                raise UserError("gallery: nobody is enrolled; enrol somebody first")
            asked = _places(names)
            blocks = [place.block for place in asked]
            sums, claims = self._engine.match(given, blocks, weights(self._gallery.dim))
        empty = []
        for place in asked:
            nobody = np.ones(self._gallery.keys.set.slots, bool)
            nobody[[slot for each in segments.get(place.block, ()) for slot in each.place.slots]] = False
            empty.append(nobody)
        ordered = [sums[block] for block in blocks]
        return self._asker.ask(kind, ordered, asked, empty, threshold, claims, names)


class PlainMatcher:
    """The same for people whose embeddings need no secrecy: a list of the public, and an encrypted probe.

    The caller holds the key. A person's name in the answer is the number of the row.
    """

    def __init__(self, keys: PublicKeys, people: NDArray[np.floating[Any]]) -> None:
        """Encode (n, d) embeddings, scaled to unit length; 17 MB for each block of 4,096 people.

        Raises:
            UserError: for embeddings that are none.
        """
        rows, slots = unit(people), keys.set.slots
        if rows.ndim != 2 or not 1 <= len(rows) <= most_blocks(keys.set) * slots:
            raise UserError(f"people: {len(rows)} rows; 1 to {most_blocks(keys.set) * slots} expected")
        self._dim, self._asker, self._products = rows.shape[1], Asker(keys), Products(keys)
        pieces = [rows[start : start + slots] for start in range(0, len(rows), slots)]
        self._columns = [self._products.plain_columns(piece.T) for piece in pieces]
        self._asked = [Place(block, tuple(range(len(piece)))) for block, piece in enumerate(pieces)]
        self._empty = [np.arange(slots) >= len(piece) for piece in pieces]

    def ask(self, kind: Kind, probe: EncryptedProbe, threshold: float = 0.0) -> Question:
        """Return a question of any kind but ``verify``, about everybody.

        Raises:
            UserError: when the probe does not fit.
        """
        if kind == "verify":
            raise ValueError("kind: identify, accepted or scores")
        given = _checked(probe, self._dim, threshold)
        factors = self._products.factors(given)
        sums = [self._products.sum_plain_columns(columns, factors) for columns in self._columns]
        claims = self._products.claims(factors, weights(self._dim))
        names = {(each.block, slot): str(number) for number, (each, slot) in enumerate(_slots(self._asked))}
        return self._asker.ask(kind, sums, self._asked, self._empty, threshold, claims, names)


def _checked(probe: Probe, dim: int, threshold: float) -> Probe:
    if not -1.0 <= threshold <= 1.0:
        raise UserError(f"threshold {threshold}: scores are -1 to 1; give one of those")
    given = probe if isinstance(probe, EncryptedProbe) else unit(probe)
    found = len(given.bodies) if isinstance(given, EncryptedProbe) else given.size
    if found != dim:
        raise UserError(
            f"probe: {found} dimensions, people have {dim}; use the model that they were enrolled by"
        )
    return given


def _places(names: Iterable[tuple[int, int]]) -> list[Place]:
    slots: dict[int, list[int]] = {}
    for block, slot in sorted(names):
        slots.setdefault(block, []).append(slot)
    return [Place(block, tuple(each)) for block, each in slots.items()]


def _slots(places: Sequence[Place]) -> Iterable[tuple[Place, int]]:
    return ((place, slot) for place in places for slot in place.slots)
