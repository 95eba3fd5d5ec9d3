"""Segments of one block, summed up into one file; ciphertexts never in memory as a whole."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.places import MOST_PEOPLE
from fedpriv.he.matching.reading import open_segment
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_writing import CipherWriter
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.shapes import Shape


def summable(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Yield runs of two and more segments, in the order given, of at most 4,096 slots together.

    An owner can encrypt anew no more at once. When each run is summed up, a block of 8,192 slots has
    at most 3 segments left: two neighbours have more than 4,096.
    """
    run: list[Segment] = []
    for each in segments:
        if sum(len(one.place.slots) for one in (*run, each)) > MOST_PEOPLE:
            if len(run) > 1:
                yield run
            run = []
        run.append(each)
    if len(run) > 1:
        yield run


def write_sum(target: Path, keys: PublicKeys, parts: Sequence[tuple[Path, Segment]], dim: int) -> None:
    """Write the sum of segments, dimension by dimension; unsigned, ciphertexts of full size.

    Ciphertexts are a group: the sum of what fills disjoint slots fills all of them, exactly.

    Raises:
        FormatError: when a segment is damaged; nothing is written then.
        UserError: when it cannot be written.
    """
    evaluation = Evaluation(keys)
    shape = Shape(2, keys.set.primes, False, keys.set.scale)
    slots = sorted(slot for _, segment in parts for slot in segment.place.slots)
    metadata = {"kind": "sum", "dim": dim, "block": parts[0][1].place.block, "people": len(slots)}
    head = CipherHead(keys.set, keys.fingerprint, shape, dim, metadata, signed=False)
    with contextlib.ExitStack() as stack:
        columns = [iter(stack.enter_context(open_segment(path, keys, one, dim))) for path, one in parts]
        writer = stack.enter_context(CipherWriter(target, head, replace=True))
        for each in zip(*columns, strict=True):
            writer.write(evaluation.dump(evaluation.add_many(each)))
