"""What many rounds give an adversary against CKKS releases with flooding, beside more equations.

Let a released slot be m + e + f, with the message m, the error e of the ciphertext and the flooding f, drawn
afresh for every answer, of standard deviations sigma_e and sigma_f on the slots.

- ONE ciphertext opened r times: the mean of the answers has flooding sigma_f / sqrt(r). Once that is below
  :func:`~fedpriv.attacks.ckks_key_recovery.tolerated_error`, the key falls (:func:`openings_needed`).
  So a ciphertext must be opened once, or always with the same flooding.
- The same MESSAGE in r rounds, encrypted afresh: the mean approaches m + mean(e), but the equation of each
  round holds for m + e of that round. Knowing m is to know a plaintext, against which encryption stands; and
  the sum of the equations carries flooding sigma_f sqrt(r). No number of rounds gives the key this way.
- The POWER of the errors over many rounds of known messages. Under a public key, e = e0 + e1 s (and less
  than that from the rest), so a slot's variance grows with |s(w)|^2 (:func:`error_power`). Flooding adds
  sigma_f^2, with a spread of sqrt(2 / r) sigma_f^2 in the estimate, so it takes about
  2 (sigma_f / sigma_e)^4 rounds before this shows (:func:`rounds_until_power_shows`). Under the secret key,
  e does not depend on s and there is nothing to see.
- The SHARES of a committee, c1 s_j + r_j: opened r times for one c1, their mean is c1 s_j once the smudging
  is averaged below 1/2 (:func:`average_shares`).

Figures for :class:`fedpriv.he.ckks.FloatEncoding`, at any number of clients, for smudging_bits = b. One
ciphertext would have to be opened 2^(2 b + 7) times before its averaged flooding is as small as its error
(2^87 at b = 40, 2^119 at b = 56), and 2^(2 b + 17) times before its mean, or that of a share, gives the key;
key holders open it once. The power of the error would show after 2^(4 b + 15) rounds of known messages.
These attacks are not all attacks; and the figures are those of ideal noise, for which its last bits must not
tell more: :mod:`fedpriv.attacks.ckks_low_bits`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.attacks.ckks_embedding import evaluate, lifted, residues
from fedpriv.attacks.ckks_key_recovery import Opened, tolerated_error
from fedpriv.he.ring import Ring, add, negate
from fedpriv.he.wire import Words


def average(opened: Sequence[Opened]) -> Opened:
    """Return one ciphertext with the mean of what was published of it in several openings.

    Raises:
        ValueError: when there is none, or they are different ciphertexts.
    """
    if not opened:
        raise ValueError("opened: none; at least one opening is needed")
    first = opened[0]
    if not all(np.array_equal(item.c0, first.c0) and np.array_equal(item.c1, first.c1) for item in opened):
        raise ValueError("opened: different ciphertexts; only openings of one ciphertext share its error")
    mean = np.stack([item.values for item in opened]).mean(axis=0, dtype=np.float64)
    return Opened(first.c0, first.c1, mean, first.scale)


def average_shares(ring: Ring, answers: Sequence[Words]) -> Words:
    """Return the most likely c1 s_j from a key holder's answers c1 s_j + r for ONE c1, in coefficients.

    r is uniform on the integers of [-2^(w-1), 2^(w-1)), so it has mean -1/2; answers differ by differences
    of r, which are averaged and rounded.

    Raises:
        ValueError: when there is no answer.
    """
    if not answers:
        raise ValueError("answers: none; at least one is needed")
    opposite = negate(answers[0], ring.moduli)
    total = np.zeros(ring.degree, object)
    for answer in answers:
        difference = answer.copy()
        add(difference, opposite, ring.moduli)
        total += np.array(lifted(difference, ring), object)
    # nearest to x / n + 1/2 is floor(x / n + 1)
    rounded = (int(number) // len(answers) + 1 for number in total)
    share = residues(rounded, ring)
    add(share, answers[0], ring.moduli)
    return share


def openings_needed(flooding: float, scale: float, degree: int) -> int:
    """Return after how many openings of one ciphertext the mean of Gaussian flooding gives the key.

    (flooding / tolerated_error)^2: even odds that two such means recover the key.

    Args:
        flooding: standard deviation of the flooding on the slots.
        scale: Delta.
        degree: N.
    """
    return math.ceil((flooding / tolerated_error(scale, degree)) ** 2)


def rounds_until_power_shows(flooding: float, error: float) -> int:
    """Return 2 (flooding / error)^4: rounds of known messages after which the error's power shows through.

    Args:
        flooding: standard deviation of the flooding.
        error: standard deviation, in the same unit, of the part of the error that depends on the key.
    """
    return math.ceil(2 * (flooding / error) ** 4)


def error_power(values: NDArray[np.floating], message: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean square over rounds of what was released beyond a message that the adversary knows.

    Args:
        values: (rounds, N / 2) released slots.
        message: (N / 2,), or (rounds, N / 2) where it changed.

    Returns:
        (N / 2,) float64.
    """
    excess = values.astype(np.float64) - message
    power: NDArray[np.float64] = np.square(excess).mean(axis=0)
    return power


def key_power(key: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return |s(w)|^2 at the N / 2 slots: what :func:`error_power` grows with under a public key."""
    points = evaluate(key.astype(np.float64))
    return points.real**2 + points.imag**2
