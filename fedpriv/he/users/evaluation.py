"""What a server computes on ciphertexts, with public keys only."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.parameters import seal_context
from fedpriv.he.ring import add, smudging
from fedpriv.he.users.bodies import Bodies, from_polynomials, polynomials, shape_of
from fedpriv.he.users.encoding import SlotEncoder
from fedpriv.he.users.frames import level_id
from fedpriv.he.users.levels import LevelRing
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.shapes import Buffer, Shape


class Evaluation:
    """Sums and products of ciphertexts under one key; results are new objects, operands stay as they are.

    Edge cases:
        - Operands of different levels or scales: ValueError.
        - A result whose later polynomials vanish, such as a - a, hides nothing: UserError.

    Attributes:
        set: the parameters.
        keys: the public keys.
    """

    def __init__(self, keys: PublicKeys) -> None:
        """Prepare SEAL's evaluator."""
        self.keys, self.set = keys, keys.set
        self._context = seal_context(self.set.seal)
        self._evaluator, self._encoder = sealapi.Evaluator(self._context), SlotEncoder(self.set)

    def add(self, first: Any, second: Any) -> Any:
        """Return first + second."""
        return self._made(self._evaluator.add, first, second)

    def add_many(self, terms: Iterable[Any]) -> Any:
        """Return the sum of at least one ciphertext, one in memory at a time."""
        remaining = iter(terms)
        total = next(remaining, None)
        if total is None:
            raise ValueError("terms: none")
        second = next(remaining, None)
        if second is None:
            return self._copied(total)
        total = self.add(total, second)
        for term in remaining:
            self._called(self._evaluator.add_inplace, total, term)
        return total

    def sub(self, first: Any, second: Any) -> Any:
        """Return first - second."""
        return self._made(self._evaluator.sub, first, second)

    def negate(self, ciphertext: Any) -> Any:
        """Return the negative."""
        return self._made(self._evaluator.negate, ciphertext)

    def multiply(self, first: Any, second: Any) -> Any:
        """Return first * second, of 3 polynomials: not relinearised."""
        return self._made(self._evaluator.multiply, first, second)

    def square(self, ciphertext: Any) -> Any:
        """Return its square, of 3 polynomials."""
        return self._made(self._evaluator.square, ciphertext)

    def sum_of_products(self, firsts: Iterable[Any], seconds: Iterable[Any]) -> Any:
        """Return the sum of pairwise products, of 3 polynomials: to be relinearised once for all.

        Raises:
            ValueError: when one has more factors, or both have none.
        """
        return self.add_many(
            self.multiply(first, second) for first, second in zip(firsts, seconds, strict=True)
        )

    def multiply_plain(self, ciphertext: Any, plaintext: Any) -> Any:
        """Return ciphertext * plaintext; a plaintext of zeros: UserError, the product would hide nothing."""
        return self._made(self._evaluator.multiply_plain, ciphertext, plaintext)

    def add_plain(self, ciphertext: Any, plaintext: Any) -> Any:
        """Return ciphertext + plaintext."""
        return self._made(self._evaluator.add_plain, ciphertext, plaintext)

    def sub_plain(self, ciphertext: Any, plaintext: Any) -> Any:
        """Return ciphertext - plaintext."""
        return self._made(self._evaluator.sub_plain, ciphertext, plaintext)

    def relinearise(self, ciphertext: Any) -> Any:
        """Return a product of 3 polynomials as one of 2.

        Raises:
            ValueError: when the set has no relinearisation keys.
        """
        if self.keys.relin is None:
            raise ValueError(f"{self.set.name}: has no relinearisation keys")
        return self._made(self._evaluator.relinearize, ciphertext, self.keys.relin)

    def rescale(self, ciphertext: Any) -> Any:
        """Return a CKKS ciphertext and its scale divided by the last prime, which is dropped."""
        return self._made(self._evaluator.rescale_to_next, ciphertext)

    def switch_down(self, ciphertext: Any, primes: int) -> Any:
        """Return the same values modulo the first ``primes`` primes: smaller, with less room for noise.

        Raises:
            ValueError: when it has fewer already.
        """
        return self._made(self._evaluator.mod_switch_to, ciphertext, list(level_id(self.set.seal, primes)))

    def integers(self, values: NDArray[np.int64]) -> Any:
        """Return a plain operand (BFV); see :class:`~fedpriv.he.users.encoding.SlotEncoder`."""
        return self._encoder.integers(values)

    def unsigned(self, values: NDArray[np.uint64]) -> Any:
        """Return a plain operand of residues (BFV)."""
        return self._encoder.unsigned(values)

    def floats(self, values: NDArray[np.float64], like: Any = None, scale: float | None = None) -> Any:
        """Return a plain operand (CKKS) at the level and scale of ``like``; None for those of fresh ones."""
        return self._encoder.floats(values, self._like(like, scale))

    def constant(self, value: float, like: Any = None, scale: float | None = None) -> Any:
        """Return a plain operand with one value in every slot."""
        return self._encoder.constant(value, self._like(like, scale))

    def flood(self, ciphertext: Any, log2_width: int) -> Any:
        """Return the same values under other randomness and with more noise, so that the old tells nothing.

        It adds an encryption of zero under the public key, and to each coefficient of c0 an integer uniform
        on [-2^(w-1), 2^(w-1)), w = ``log2_width`` <= 128, of the operating system's randomness. That hides
        noise below 2^(w-1-k) with statistical distance at most N 2^-k (Asharov et al., EUROCRYPT 2012, lemma
        2.1).

        Raises:
            ValueError: for 3 polynomials, or a width beyond the modulus.
        """
        shape, seal = shape_of(self.set, ciphertext), self.set.seal
        moduli = self.set.moduli(shape.primes)
        if shape.polynomials != 2:
            raise ValueError(f"{shape.polynomials} polynomials: relinearise first")
        if not 1 <= log2_width <= min(128, int(np.log2(moduli.astype(np.float64)).sum()) - 1):
            raise ValueError(f"log2_width {log2_width}: beyond the modulus")
        words = polynomials(self.set, self.add(ciphertext, self._zero(shape))).copy()
        noise = smudging(log2_width, moduli, seal.poly_degree)
        if self.set.ckks:
            noise = LevelRing(seal, shape.primes).to_ntt(noise, np.ones_like(noise))[0]
        add(words[0], noise, moduli)
        return from_polynomials(self.set, words, shape.scale)

    def shape(self, ciphertext: Any) -> Shape:
        """Return its shape."""
        return shape_of(self.set, ciphertext)

    def load(self, body: Buffer, shape: Shape) -> Any:
        """Return a packed ciphertext; raises as :meth:`~fedpriv.he.users.shapes.Bodies.unpack`."""
        return Bodies(self.set, shape).unpack(body)

    def dump(self, ciphertext: Any) -> bytes:
        """Return it packed, as :meth:`shape` says."""
        return Bodies(self.set, self.shape(ciphertext)).pack(ciphertext)

    def _like(self, like: Any, scale: float | None) -> Shape:
        shape = Shape(2, self.set.primes, False, self.set.scale) if like is None else self.shape(like)
        return shape if scale is None else Shape(2, shape.primes, False, scale)

    def _zero(self, shape: Shape) -> Any:
        encryptor, ciphertext = sealapi.Encryptor(self._context, self.keys.public), sealapi.Ciphertext()
        if self.set.ckks:
            # a plaintext carries the scale, without which SEAL would refuse the sum
            encryptor.encrypt(self._encoder.constant(0.0, shape), ciphertext)
        else:
            encryptor.encrypt_zero(list(level_id(self.set.seal, shape.primes)), ciphertext)
        return ciphertext

    def _copied(self, ciphertext: Any) -> Any:
        return from_polynomials(self.set, polynomials(self.set, ciphertext), self.shape(ciphertext).scale)

    def _made(self, function: Callable[..., None], *operands: Any) -> Any:
        made = sealapi.Ciphertext()
        self._called(function, *operands, made)
        return made

    def _called(self, function: Callable[..., None], *operands: Any) -> None:
        try:
            function(*operands)
        except RuntimeError as error:
            if "transparent" not in str(error):
                raise ValueError(str(error)) from error
            raise UserError(
                "ciphertexts: the result would hide nothing, as that of a ciphertext minus itself; "
                "encrypt one anew"
            ) from error
