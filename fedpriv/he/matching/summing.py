"""Segments of one block, summed up into one file and never in memory as a whole."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.reading import open_segment
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_writing import CipherWriter
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.shapes import Shape


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
