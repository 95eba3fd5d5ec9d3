"""How wide the smudging of key holders is, and whether a ciphertext has room for it."""

import math

from fedpriv.errors import UserError
from fedpriv.he.noise_bounds import smudging_log2
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape

SMUDGING_BITS = 40
"""log2 of the smudging over the bound of the noise that it hides."""


def noise_log2(parameters: ParameterSet, primes: int, budget: int) -> int:
    """Return log2 of the noise of a BFV ciphertext at a level of ``primes`` that has ``budget`` bits left.

    SEAL's invariant noise budget is log2(q / (2 t noise)).
    """
    return (
        math.ceil(_log2_modulus(parameters, primes) - math.log2(2 * parameters.seal.plain_modulus)) - budget
    )


def smudging_deviation(parameters: ParameterSet, shape: Shape, holders: int, log2_noise: int) -> float:
    """Return the standard deviation that smudging adds to a CKKS slot, in units of the values.

    A slot is the sum of N coefficients times roots of unity, of which the real part is kept: N / 2 variances,
    each ``holders`` times 2^(2 w) / 12.
    """
    coefficients = math.sqrt(parameters.seal.poly_degree / 2 * holders / 12)
    return coefficients * 2.0 ** width_log2(log2_noise) / shape.scale


def require_room(parameters: ParameterSet, shape: Shape, holders: int, log2_noise: int) -> None:
    """Refuse to smudge where the result would no longer decrypt.

    Raises:
        UserError: when 2^log2_noise + n 2^(w-1) is beyond q / (2 t), for CKKS beyond the scale.
    """
    needed = math.log2(2.0**log2_noise + holders * 2.0 ** (width_log2(log2_noise) - 1))
    if parameters.ckks:
        room = math.log2(shape.scale)
    else:
        room = _log2_modulus(parameters, shape.primes) - math.log2(2 * parameters.seal.plain_modulus)
    if needed > room or width_log2(log2_noise) > 128:
        raise UserError(
            f"ciphertext: {holders} key holders' smudging takes {needed:.0f} bits, and {shape.primes} primes "
            f"leave {room:.0f}; have it opened at a higher level, or split a key with larger parameters"
        )


def width_log2(log2_noise: int) -> int:
    """Return w: smudging is uniform on [-2^(w-1), 2^(w-1)), to hide noise below 2^log2_noise."""
    return smudging_log2(2.0**log2_noise, SMUDGING_BITS)


def _log2_modulus(parameters: ParameterSet, primes: int) -> float:
    return sum(math.log2(int(prime)) for prime in parameters.moduli(primes)[:, 0])
