"""Inner products of many columns at once: where rows lie in polynomials, and where their sums appear.

A left polynomial holds up to :data:`ACROSS` vectors v_i of a chunk of c rows at the coefficients i c + k, a
right one vectors w_j at j A c + (c - 1 - k), A = :data:`ACROSS`, A A c = N. Coefficient (j A + i) c + c - 1
of their product is the inner product of v_i and w_j; all others are mixtures (Yasuda et al. 2013, CCSW; for
matrices Huang et al. 2022, Cheetah, eprint 2022/207). One product of ciphertexts gives 16 sums, and products
of all chunks add up before they are relinearised: no rotations, no Galois keys, and 16 sums per ciphertext
sent.
"""

import numpy as np
from numpy.typing import NDArray

ACROSS = 4
"""Vectors in one polynomial, on either side."""


class Packing:
    """The places in polynomials of degree below N.

    Attributes:
        degree: N.
        chunk: rows in one polynomial.
    """

    def __init__(self, degree: int) -> None:
        """Divide N coefficients."""
        self.degree, self.chunk = degree, degree // (ACROSS * ACROSS)

    def chunks(self, rows: int) -> int:
        """Return how many chunks hold ``rows`` rows."""
        return -(-rows // self.chunk)

    def left(self, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N,) coefficients of up to A vectors of up to c rows, (vectors, rows)."""
        places = np.zeros((ACROSS * ACROSS, self.chunk), np.int64)
        places[: vectors.shape[0], : vectors.shape[1]] = vectors
        return places.reshape(-1)

    def right(self, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N,) coefficients of the other factor, of up to A vectors of up to c rows."""
        places = np.zeros((ACROSS, ACROSS, self.chunk), np.int64)
        rows = vectors.shape[1]
        places[: vectors.shape[0], 0, self.chunk - rows :] = vectors[:, ::-1]
        return places.reshape(-1)

    def ones(self) -> NDArray[np.int64]:
        """Return the right factor whose only vector is 1 in every row: it sums the left vectors."""
        return self.right(np.ones((1, self.chunk), np.int64))

    def targets(self, left: int, right: int) -> NDArray[np.int64]:
        """Return the coefficients that hold inner products, (left, right), of so many vectors."""
        i, j = np.arange(left)[:, np.newaxis], np.arange(right)[np.newaxis, :]
        return ((j * ACROSS + i) * self.chunk + self.chunk - 1).astype(np.int64)

    def weights(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the factor that makes of left vectors their sum with these weights, row by row."""
        places = np.zeros((ACROSS * ACROSS, self.chunk), np.int64)
        places[ACROSS - 1 - np.arange(len(values)), 0] = values
        return places.reshape(-1)

    def weighted(self) -> NDArray[np.int64]:
        """Return the coefficients, (c,), where the rows of that sum are."""
        return np.arange((ACROSS - 1) * self.chunk, ACROSS * self.chunk)
