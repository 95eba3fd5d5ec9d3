"""Which of many sets of examples hold an example: an index from digests to sets."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedpriv.privacy.example_set import ExampleSet


class Overlap:
    """An inverted index of sets, numbered from 0. Memory: 12 bytes for each example of each set.

    Guarantee:
        - No set that shares an example is missing, and none is named that shares none.

    Edge cases:
        - An example that stands in a set several times counts once, as one copy of it.
        - An example of no set makes the empty combination; no examples make none.
    """

    def __init__(self, sets: Sequence[ExampleSet]) -> None:
        """Remember the sets; the index is built when it is first asked."""
        self._sets = [each.distinct for each in sets]

    @cached_property
    def _postings(self) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """All digests in ascending order, and beside each the set it is from; equal ones by set."""
        digests = np.concatenate([np.zeros(0, np.uint64), *self._sets])
        owners = np.repeat(
            np.arange(len(self._sets), dtype=np.int32), [len(digests) for digests in self._sets]
        )
        order = np.argsort(digests, kind="stable")
        return digests[order], owners[order]

    def combinations(self, examples: ExampleSet) -> set[tuple[int, ...]]:
        """Return the ascending numbers of all sets that hold an example, for each; each combination once."""
        digests, owners = self._postings
        first = np.searchsorted(digests, examples.distinct, side="left").tolist()
        end = np.searchsorted(digests, examples.distinct, side="right").tolist()
        found = {owners[low:high].tobytes() for low, high in zip(first, end, strict=True)}
        return {tuple(np.frombuffer(each, np.int32).tolist()) for each in found}

    def touching(self, examples: ExampleSet) -> dict[int, bool]:
        """Return the number of every set that shares an example, and whether all of it is shared."""
        digests, owners = self._postings
        places = np.searchsorted(examples.distinct, digests)
        places[places == len(examples.distinct)] = 0
        shared = owners[examples.distinct[places] == digests] if len(examples) else owners[:0]
        numbers, counts = np.unique(shared, return_counts=True)
        return {
            int(number): int(count) == len(self._sets[number])
            for number, count in zip(numbers, counts, strict=True)
        }
