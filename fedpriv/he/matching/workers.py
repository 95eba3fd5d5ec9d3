"""Processes that hold a share of the dimensions each: SEAL keeps Python's lock while it computes.

Shares are of dimensions and not of blocks: one block of 4,096 people keeps all cores busy, each parses its
part of the probe only, and what comes back is one sum for each block.
"""

import contextlib
import itertools
import multiprocessing
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.lengths import Claims
from fedpriv.he.matching.products import Probe, part
from fedpriv.he.matching.share import Share
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys


class Workers:
    """Several processes that do what one :class:`~fedpriv.he.matching.share.Share` does.

    Attributes:
        blocks: with anybody in them, as of the last :meth:`refresh`.
        memory_bytes: of the ciphertexts that all hold together.
    """

    def __init__(self, gallery: Gallery, count: int) -> None:
        """Start ``count`` processes, at most one for each dimension; they load nothing yet."""
        self.blocks: list[int] = []
        self.memory_bytes = 0
        self._evaluation = Evaluation(gallery.keys)
        edges = np.linspace(0, gallery.dim, min(count, gallery.dim) + 1).astype(int).tolist()
        self._ranges = list(itertools.pairwise(edges))
        # not forked: the process that asks has threads, which would be lost with the locks that they hold
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for first, last in self._ranges:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, gallery.folder, first, last), daemon=True)
            process.start()
            theirs.close()
            self._ends.append(ours)
            self._processes.append(process)

    def refresh(self) -> None:
        """As :meth:`Share.refresh`, in all."""
        answers = self._ask([("refresh",)] * len(self._ends))
        self.blocks = answers[0][0]
        if any(blocks != self.blocks for blocks, _ in answers):
            # somebody enrolled between two of them
            self.refresh()
            return
        self.memory_bytes = sum(memory for _, memory in answers)

    def match(
        self, probe: Probe, blocks: Iterable[int], weights: NDArray[np.float64]
    ) -> tuple[dict[int, Any], Claims | None]:
        """As :meth:`Share.match`, over all dimensions."""
        wanted = list(blocks)
        answers = self._ask(
            [("match", part(probe, *each), wanted, weights[:, slice(*each)]) for each in self._ranges]
        )
        parts = zip(*answers, strict=True)
        # a probe, or people, may be zero in all dimensions of one process, and are in none of all
        loaded = ((self._evaluation.load(each[1], each[0]) for each in some if each) for some in parts)
        totals = [self._evaluation.add_many(each) for each in loaded]
        sums = dict(zip(wanted, totals, strict=False))
        if len(totals) == len(sums):
            return sums, None
        squares, along, across = totals[len(sums) :]
        return sums, (squares, along, across)

    def close(self) -> None:
        """End the processes."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, questions: Sequence[tuple[Any, ...]]) -> list[Any]:
        try:
            for end, question in zip(self._ends, questions, strict=True):
                end.send(question)
            # all answers are taken before any is judged, or the next question would get an old one
            answers = [end.recv() for end in self._ends]
        except (EOFError, OSError) as error:
            self.close()
            raise UserError(
                "matching: a process has ended, perhaps for lack of memory; start the service again"
            ) from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _serve(end: Connection, folder: Path, first: int, last: int) -> None:
    """Answer until the other end is closed."""
    share = Share(Gallery(folder, PublicKeys.load(folder / PUBLIC_FILE, "faces")), first, last)
    while True:
        try:
            question = end.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            answer: Any = _answer(share, question)
        except Exception as error:
            answer = error if type(error) is UserError else UserError(f"matching: {error}")
        end.send(answer)


def _answer(share: Share, question: tuple[Any, ...]) -> Any:
    evaluation = share.products.evaluation
    match question:
        case ("refresh",):
            share.refresh()
            return share.blocks, share.memory_bytes
        case ("match", probe, blocks, weights):
            sums, claims = share.match(probe, blocks, weights)
            found = [*(sums[block] for block in blocks), *(claims or ())]
            return [
                None if each is None else (evaluation.shape(each), evaluation.dump(each)) for each in found
            ]
    raise ValueError(question[0])
