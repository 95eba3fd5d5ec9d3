"""The owner's side: encrypts pictures, has a server subtract them, opens the difference."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.pictures.packing import LARGEST
from fedpriv.he.pictures.reading import Picture, described, require_alike
from fedpriv.he.users.keys import UserKeys
from fedpriv.imagediff.connection import ServerConnection
from fedpriv.imagediff.protocol import CHANGES, DIFFERENCES, FORGET, REFERENCES, ReferenceHead, checked_name
from fedpriv.imagediff.requests import PictureRequests, Request

_IN_FLIGHT = 2
"""Requests that are encrypted ahead: the client encrypts while the server subtracts."""


class DifferenceClient:
    """Asks one server, with one key pair; a context manager, for one thread.

    Guarantee:
        - The secret key is used in this process only; what is sent are ciphertexts, the public key, sizes and
          names.
        - A difference is exact, or there is an error: see :mod:`fedpriv.he.pictures.difference`.

    Edge cases:
        - The server is trusted to subtract what it was asked to. An answer that is no difference of pictures
          is refused, and so is one that would make a pixel of the first picture negative or larger than 255;
          another difference of plausible pictures is not noticed.
        - A server that answers with ciphertexts of its own making, and learns whether they were refused,
          learns about the key from that: do not go on with one whose answers were.

    Attributes:
        url: of the server.
    """

    def __init__(self, url: str, keys: UserKeys, ca: Path | None = None) -> None:
        """Connect to nothing yet.

        Args:
            url: of the server.
            keys: for pictures.
            ca: certificates that an https server's must come from; the system's without.

        Raises:
            UserError: url or certificates are not usable, or the keys are for something else.
        """
        if keys.set.purpose != "images":
            raise UserError(
                f"key for {keys.set.purpose}: pictures need one made by `fedpriv keys new images`"
            )
        self._connection = ServerConnection(url, keys.public, ca)
        self.url, self._requests = url, PictureRequests(keys)
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="imagediff")

    @property
    def sent_bytes(self) -> int:
        """In bodies of requests, so far."""
        return self._connection.sent_bytes

    @property
    def received_bytes(self) -> int:
        """In bodies of answers, so far."""
        return self._connection.received_bytes

    def difference(self, first: Picture, second: Picture) -> NDArray[np.int16]:
        """Return second - first, (rows, columns, channels) int16 in -255..255.

        Raises:
            UserError: sizes differ, or the server refuses, cannot be reached or answers wrongly.
        """
        return self.differences([(first, second)])[0]

    def differences(self, pairs: Iterable[tuple[Picture, Picture]]) -> list[NDArray[np.int16]]:
        """Return second - first of each pair; pairs share ciphertexts, so that many small ones cost little.

        Raises:
            UserError: as :meth:`difference`.
        """
        pairs = list(pairs)
        for number, (first, second) in enumerate(pairs):
            require_alike(
                first, second, (f"first picture of pair {number}", f"second picture of pair {number}")
            )
        if not pairs:
            return []
        firsts, seconds = (_joined([pair[side].reshape(-1) for pair in pairs]) for side in (0, 1))
        size = self._requests.part_values
        requests = (
            (
                DIFFERENCES,
                "",
                self._requests.framed("difference", [firsts[at : at + size], seconds[at : at + size]], {}),
            )
            for at in range(0, len(firsts), size)
        )
        found = self._opened(requests, seconds)
        ends = np.cumsum([second.size for _, second in pairs])[:-1]
        parts = np.split(found, ends)
        return [part.reshape(second.shape) for part, (_, second) in zip(parts, pairs, strict=True)]

    def store_reference(self, name: str, picture: Picture) -> None:
        """Have the server keep a picture, encrypted, in place of what it kept under that name.

        Raises:
            UserError: the name is none, or the server refuses or cannot be reached.
        """
        pieces = self._requests.pieces(picture)
        head = ReferenceHead(checked_name(name), time.time_ns() // 1_000_000, 0, len(pieces), *picture.shape)
        requests = (
            (REFERENCES, name, self._requests.framed("reference", [piece], {**vars(head), "part": number}))
            for number, piece in enumerate(pieces)
        )
        said = [self._connection.json(answer) for _, answer in self._sent(requests)]
        if said[-1].get("complete") is not True:
            raise UserError(f"reference {name}: was replaced by another while it was sent; send it again")

    def reference(self, name: str) -> ReferenceHead:
        """Return what the server says it keeps under a name.

        Raises:
            UserError: there is none.
        """
        return ReferenceHead.read(
            self.url, self._connection.json(self._connection.ask("GET", REFERENCES, checked_name(name), b""))
        )

    def difference_from(self, name: str, picture: Picture) -> NDArray[np.int16]:
        """Return picture - reference, (rows, columns, channels) int16.

        Raises:
            UserError: there is no such reference or one of another size; otherwise as :meth:`difference`.
        """
        kept = self.reference(name)
        if kept.shape != picture.shape:
            raise UserError(
                f"reference {name}: {described(kept.shape)}, and the picture is {described(picture.shape)}; "
                "give a picture of its size and kind"
            )
        requests = (
            (CHANGES, name, self._requests.framed("changes", [piece], {**vars(kept), "part": number}))
            for number, piece in enumerate(self._requests.pieces(picture))
        )
        return self._opened(requests, picture.reshape(-1)).reshape(picture.shape)

    def forget(self, name: str) -> None:
        """Have the server delete a reference.

        Raises:
            UserError: there is none.
        """
        _, body = self._requests.framed("delete", [np.empty(0, np.uint8)], vars(self.reference(name)))
        self._connection.ask("POST", FORGET, name, body)

    def _opened(
        self, requests: Iterable[tuple[str, str, Request]], seconds: NDArray[np.uint8]
    ) -> NDArray[np.int16]:
        """Return second - first for what requests say, checked against what the first can have been."""
        found, begin = np.empty(len(seconds), np.int16), 0
        for nonce, body in self._sent(requests):
            end = min(begin + self._requests.part_values, len(seconds))
            found[begin:end] = self._requests.opened(nonce, body, end - begin, self.url)
            first = seconds[begin:end] - found[begin:end]
            if first.min() < 0 or first.max() > LARGEST:
                raise UserError(
                    f"{self.url}: answers with no difference of these pictures; do not trust this server"
                )
            begin = end
        return found

    def _sent(self, requests: Iterable[tuple[str, str, Request]]) -> Iterator[tuple[str, bytes]]:
        """Send requests in order, the next ones made meanwhile, and yield their numbers and answers."""
        waiting: deque[tuple[str, Future[bytes]]] = deque()
        try:
            for path, name, (nonce, body) in requests:
                waiting.append((nonce, self._sender.submit(self._connection.ask, "POST", path, name, body)))
                if len(waiting) > _IN_FLIGHT:
                    number, answer = waiting.popleft()
                    yield number, answer.result()
            while waiting:
                number, answer = waiting.popleft()
                yield number, answer.result()
        finally:
            for _, answer in waiting:
                answer.cancel()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._sender.shutdown(cancel_futures=True)
        self._connection.close()


def _joined(vectors: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return one after the other; a single one, which may be large, is not copied."""
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
