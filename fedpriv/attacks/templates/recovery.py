"""The attacks: each sees answers to probes of its choice, and returns a guess of the template.

- *Solving*: a raw score is a linear equation in the template, so d of them determine it (Mohanty, Sarkar,
  Kasturi, From scores to face templates, IEEE TPAMI 2007, in its simplest case).
- *Climbing*: keep what raises the score (Adler, Can images be regenerated from biometric templates?, 2003;
  Galbally et al., Pattern Recognition 2010).
- *Boundary*: accept or reject only. From any accepted probe, bisect towards others: each point where the
  answer flips is an equation again (Lowd and Meek, Adversarial learning, KDD 2005).
- *One bit*: accept or reject to probes far longer than 1, where no threshold matters any more and each answer
  is a fair bit: the sign of a scalar product (Boufounos and Baraniuk, 1-bit compressive sensing, 2008).
"""

from collections.abc import Callable

import numpy as np

from fedpriv.attacks.templates.population import Population, Vectors, unit_rows

Score = Callable[[Vectors], float]
"""Answers a probe by its cosine with the template."""
Accepts = Callable[[Vectors], bool]
"""Answers a probe by whether its cosine is above the threshold."""

BISECTIONS = 12
"""Queries for one point of the boundary: to about 4e-4 rad."""

_RIDGE = 1e-9
_PHOTO = 0.8
_TOGETHER = 512


def solve(score: Score, queries: int, population: Population, random: np.random.Generator) -> Vectors:
    """Ask for the scores of ``queries`` strangers and return the likeliest template.

    That is C A' (A C A')^-1 b for scores b of probes A and the covariance C of faces: from fewer than d
    scores the guess of least surprise, from d on the template itself.
    """
    probes = population.draw(queries, random)
    return _likeliest(probes, np.array([score(probe) for probe in probes]), population)


def climb(
    score: Score, queries: int, population: Population, random: np.random.Generator, step: float = 0.35
) -> Vectors:
    """Change a stranger's face at random ``queries`` times and keep each change that raises the score."""
    best: Vectors = population.draw(1, random)[0]
    reached = score(best)
    for _ in range(queries - 1):
        tried = unit_rows(best + step * population.draw(1, random)[0])
        found = score(tried)
        if found > reached:
            best, reached = tried, found
    return best


def boundary(
    accepts: Accepts,
    queries: int,
    threshold: float,
    population: Population,
    random: np.random.Generator,
    photo: Vectors | None = None,
) -> tuple[Vectors, int]:
    """From an accepted probe, find the boundary around it.

    Args:
        accepts: the oracle.
        queries: that it may be asked.
        threshold: it is public.
        population: to draw strangers from.
        random: their randomness.
        photo: the embedding of a picture of that person; without, strangers are tried until one is accepted.

    Returns:
        The guess, and how many queries were asked before a first one was accepted (``queries`` if none was:
        the guess is then that of somebody who knows the population only).
    """
    start, asked = (photo, 0) if photo is not None else _stranger(accepts, queries, population, random)
    if start is None:
        guess: Vectors = population.draw(1, random)[0]
        return guess, queries
    first = asked
    points: list[Vectors] = []
    while asked + BISECTIONS <= queries and len(points) < 2 * len(start):
        towards = population.draw(1, random)[0]
        towards = unit_rows(towards - (towards @ start) * start)
        low, high = 0.0, np.pi / 2
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            asked += 1
            low, high = (middle, high) if accepts(_turned(start, towards, middle)) else (low, middle)
        points.append(_turned(start, towards, (low + high) / 2))
    if not points:
        return start, first
    known = (threshold if photo is None else _PHOTO) * start
    return _likeliest(np.array(points), np.full(len(points), threshold), population, known), first


def one_bit(accepts: Accepts, queries: int, population: Population, random: np.random.Generator) -> Vectors:
    """Ask for the signs of ``queries`` scalar products and return the sum of the probes, each with its sign.

    Args:
        accepts: must answer by the sign of the scalar product: probes without bound on their length.
        queries: how many.
        population: to draw strangers from.
        random: their randomness.
    """
    probes = population.draw(queries, random)
    signs = np.array([1.0 if accepts(probe) else -1.0 for probe in probes])
    return unit_rows(signs @ probes)


def _stranger(
    accepts: Accepts, queries: int, population: Population, random: np.random.Generator
) -> tuple[Vectors | None, int]:
    """Return a stranger who is accepted, None if none of ``queries`` is, and how many were tried."""
    for begun in range(0, queries, _TOGETHER):
        drawn = population.draw(min(_TOGETHER, queries - begun), random)
        for index, probe in enumerate(drawn):
            if accepts(probe):
                return np.asarray(probe), begun + index + 1
    return None, queries


def _turned(start: Vectors, towards: Vectors, angle: float) -> Vectors:
    return np.asarray(np.cos(angle) * start + np.sin(angle) * towards)


def _likeliest(
    probes: Vectors, scores: Vectors, population: Population, known: Vectors | None = None
) -> Vectors:
    """Return the direction of m + C A' (A C A')^-1 (b - A m), m what is known before; 0 without."""
    before = np.zeros(probes.shape[1]) if known is None else known
    weighted = probes * population.roots**2
    gram = weighted @ probes.T
    ridge = _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return unit_rows(before + np.linalg.solve(gram + ridge, scores - probes @ before) @ weighted)
