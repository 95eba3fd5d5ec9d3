"""Key pairs of people who have others compute on their ciphertexts.

The owner keeps ``secret.key``; servers and callers get ``public.key``, which encrypts and evaluates and
cannot decrypt. Keys, and the errors and masks of encryption, are drawn by SEAL, whose Blake2xb generator is
seeded from the operating system; the Ed25519 key is drawn by the ``cryptography`` package from the same
source.

Whoever sees CKKS ciphertexts and their exact decryptions can compute the secret key (Li and Micciancio 2021,
eprint 2020/1533): what :meth:`UserKeys.decrypt_floats` returns is for the owner's eyes, and is to be rounded
or drowned in noise before anybody else sees it.
"""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import FormatError, UserError
from fedpriv.he.identity import SigningKey
from fedpriv.he.key_files import read_private, write_private
from fedpriv.he.keys import SecretKey
from fedpriv.he.parameters import seal_context
from fedpriv.he.ring import add, multiply
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.users.encrypting import Encryptor
from fedpriv.he.users.frames import Frame
from fedpriv.he.users.key_bodies import KeyBodies
from fedpriv.he.users.key_heads import OVERHEAD, KeyHead, fingerprint, open_head
from fedpriv.he.users.levels import LevelRing
from fedpriv.he.users.opening import decoded_floats, decoded_integers
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys, public_beside
from fedpriv.he.users.sets import SETS, ParameterSet, Purpose
from fedpriv.he.users.shapes import Shape

SECRET_FILE = "secret.key"  # noqa: S105 - a file's name
SEED_BYTES = 32

_LARGEST_ERROR = 21
"""Of a coefficient of SEAL's fresh error: centred binomial of 21 pairs of bits."""


class UserKeys:
    """What the owner holds. Does not show itself, is not copied and is not pickled.

    Attributes:
        public: what others get.
        signer: signs what the owner makes.
    """

    __slots__ = ("_secret", "_seed", "public", "signer")

    def __init__(self, public: PublicKeys, secret: Any, seed: bytes) -> None:
        """Hold checked keys; use :meth:`make` or :meth:`load`."""
        self.public, self._secret, self._seed = public, secret, seed
        self.signer = SigningKey(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def set(self) -> ParameterSet:
        """The parameters."""
        return self.public.set

    @property
    def fingerprint(self) -> str:
        """The name of the pair, 64 hexadecimal digits, public."""
        return self.public.fingerprint

    @classmethod
    def make(cls, parameters: ParameterSet) -> "UserKeys":
        """Draw a new pair; see the module's text for the randomness."""
        generator = sealapi.KeyGenerator(seal_context(parameters.seal))
        public, relin = sealapi.PublicKey(), None
        generator.create_public_key(public)
        if parameters.relinearises:
            relin = sealapi.RelinKeys()
            generator.create_relin_keys(relin)
        seed = Ed25519PrivateKey.generate().private_bytes_raw()
        signer = SigningKey(Ed25519PrivateKey.from_private_bytes(seed))
        body = KeyBodies(parameters).pack_public(public, relin)
        name = fingerprint(parameters, signer.public, body)
        data = KeyHead("public", parameters, name, signer.public).seal(body, signer)
        return cls(
            PublicKeys(parameters, name, signer.public, public, relin, data), generator.secret_key(), seed
        )

    def save(self, folder: Path) -> None:
        """Write ``secret.key``, mode 0600 whatever the umask, and ``public.key`` into an existing folder.

        Guarantee:
            - Each appears under its name complete or not at all, the secret one last: a folder with a secret
              key has its public one.
            - Nothing is ever replaced.

        Raises:
            UserError: when one exists or cannot be written; what was written before is taken away again.
        """
        public, secret = folder / PUBLIC_FILE, folder / SECRET_FILE
        if secret.exists():
            raise UserError(f"{secret}: exists already; choose another folder or move the old key away")
        write_private(public, self.public.to_bytes())
        try:
            public.chmod(0o644)
            write_private(secret, self._secret_file())
        except BaseException:
            # it stays where the secret has its name already and only the sync of the folder failed
            if not secret.exists():
                public.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path, purpose: Purpose | None = None) -> "UserKeys":
        """Read ``secret.key``, or the one in a folder, and the ``public.key`` beside it.

        Edge cases:
            - A secret file that group or others may access in any way is refused.
            - So are two files of different pairs, by the names of both, and a secret key that does not fit
              the public one whatever the names say.

        Raises:
            UserError: on each of these, and when a file is missing, damaged or of another purpose.
        """
        file = path / SECRET_FILE if path.is_dir() else path
        largest = OVERHEAD + SEED_BYTES + max(each.seal.key_bytes for each in SETS.values())
        head, body = open_head(file, read_private(file, largest), ("secret",), purpose)
        public = public_beside(file, head, purpose)
        try:
            secret = KeyBodies(head.set).unpack_secret(body[:-SEED_BYTES])
            keys = cls(public, secret, bytes(body[-SEED_BYTES:]))
        except SealDataError:
            raise FormatError(file, None, "damaged secret key; restore it from a copy") from None
        if keys.signer.public != public.verify_key or not keys._fits():
            raise FormatError(file, None, "does not fit the public key beside it; restore both from a copy")
        return keys

    def encryptor(self) -> Encryptor:
        """Return a symmetric encryptor, whose ciphertexts are seeded: half the size."""
        return Encryptor(self.set, sealapi.Encryptor(seal_context(self.set.seal), self._secret), seeded=True)

    def decrypt_integers(self, ciphertext: Any) -> NDArray[np.int64]:
        """Return the slots of a BFV ciphertext, (N,) int64 in (-t/2, t/2].

        Edge cases:
            - Whoever may send ciphertexts of their own choosing, and learn whether they were refused, learns
              about the key from that: open only what comes from whom you asked.

        Raises:
            UserError: when no noise budget is left: another key's, computed too deep, or damaged.
        """
        return decoded_integers(self.set, self._decryptor(), ciphertext)

    def decrypt_floats(self, ciphertext: Any, limit: float | None = None) -> NDArray[np.float64]:
        """Return the slots of a CKKS ciphertext, (N / 2,) float64; EXACT: see the module's text.

        Args:
            ciphertext: at any level.
            limit: the most that a slot can be in magnitude; None to let garbage pass.

        Raises:
            UserError: when a slot is beyond ``limit``: another key's, or damaged.
        """
        return decoded_floats(self.set, self._decryptor(), ciphertext, limit)

    def noise_budget(self, ciphertext: Any) -> int:
        """Return the bits of noise that a BFV ciphertext can still take; it tells of the key, keep it."""
        return int(self._decryptor().invariant_noise_budget(ciphertext))

    def secret_key(self) -> Any:
        """Return the ``sealapi.SecretKey``, to split it."""
        return self._secret

    def _decryptor(self) -> Any:
        return sealapi.Decryptor(seal_context(self.set.seal), self._secret)

    def _secret_file(self) -> bytes:
        head = KeyHead("secret", self.set, self.fingerprint, self.public.verify_key)
        return head.seal(KeyBodies(self.set).pack_secret(self._secret) + self._seed, self.signer)

    def _fits(self) -> bool:
        """Whether the secret is ternary and c0 + c1 s of the public key nothing but a fresh error."""
        seal = self.set.seal
        try:
            SecretKey(seal, bytes(16), self._secret).coefficients()
        except ValueError:
            return False
        primes = len(seal.coeff_bits)
        frame, bodies = Frame(seal, Shape(2, primes), ntt=True, key=True), KeyBodies(self.set)
        with SealBuffer() as buffer:
            c0, c1 = frame.read(buffer, self.public.public)[0][:, :-1]
        moduli, words = self.set.moduli(), bodies.secret_words(self._secret)[:-1]
        phase = multiply(c1, words, moduli)
        add(phase, c0, moduli)
        error = LevelRing(seal, primes - 1).from_ntt(phase, np.ones_like(phase))[0]
        return bool(np.minimum(error, moduli - error).max() <= _LARGEST_ERROR)

    def __repr__(self) -> str:
        """Show the public name only."""
        return f"UserKeys(set={self.set.name}, fingerprint={self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: keys travel as files."""
        raise TypeError("UserKeys: cannot be pickled or copied; pass the path of the file")
