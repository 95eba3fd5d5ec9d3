"""A public key that N holders make together, so that nobody ever has its secret key: what all of them know.

The secret key is s = s_1 + ... + s_N, each s_j ternary and known to holder j alone; the public key is
(b, a) with b = b_1 + ... + b_N and b_j = -(a s_j + e_j) (threshold key generation as in Asharov et al.,
EUROCRYPT 2012, section 3; Mouchet et al., eprint 2020/304, section 4). a is expanded from a hash of the run,
so that nobody chooses it. Three steps, relayed by the server, which nobody has to trust:

    commit    H(b_j, nonce), signed: nobody can choose a share after having seen the others'
    reveal    b_j and nonce
    endorse   each holder checks all commitments, adds, and signs the joint key; clients encrypt only
              under a key that every enrolled holder has signed for this run

A holder's side of it is in :mod:`fedpriv.he.committee_member`, a client's in :mod:`fedpriv.he.joint_key`.

Security: RLWE at 128 bits for each honest s_j, whatever the others choose. Edge: the last to reveal can
refuse, which stops the run; a holder that lies about its share spoils the sums.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np

from fedpriv.errors import UserError
from fedpriv.he.codec import Buffer, KeyRefused
from fedpriv.he.identity import Enrolment, verify
from fedpriv.he.parameters import SealParameters, key_primes
from fedpriv.he.ring import expand
from fedpriv.he.wire import CiphertextWire, Words


@dataclass(frozen=True)
class Ceremony:
    """What all parties of one key know before it is made.

    Attributes:
        parameters: of the scheme.
        holders: N.
        run_id: 16 bytes.
        enrolment: who the holders are.
    """

    parameters: SealParameters
    holders: int
    run_id: bytes
    enrolment: Enrolment

    def __post_init__(self) -> None:
        """Check the run and that every holder is enrolled."""
        if len(self.run_id) != 16:
            raise ValueError(f"run_id: {len(self.run_id)} bytes, 16 expected")
        surplus = sorted(set(self.enrolment.keyholders) - set(range(self.holders)))
        if surplus:
            raise UserError(
                f"secure.holders={self.holders}: key holder {surplus[0]} is enrolled too, and some of the "
                "holders must not make a key alone; set secure.holders to their number"
            )
        missing = sorted(set(range(self.holders)) - set(self.enrolment.keyholders))
        if missing:
            raise UserError(
                f"secure.holders={self.holders}: key holder {missing[0]} is not enrolled; "
                "enrol it or lower secure.holders"
            )

    @property
    def wire(self) -> CiphertextWire:
        """How key polynomials travel."""
        return CiphertextWire(self.parameters, level="key")

    @property
    def common(self) -> Words:
        """a, in the NTT domain, (L + 1, N): anybody computes it, nobody chooses it."""
        seed = b"fedpriv-common-1" + self.parameters.fingerprint + self.run_id
        return expand(seed, key_primes(self.parameters)[:, np.newaxis], self.parameters.poly_degree)

    def statement(self, step: str, number: int, content: bytes) -> bytes:
        """Return what a holder signs."""
        head = f"fedpriv-joint-key-1 {step}\0".encode() + struct.pack(
            "<16sII", self.run_id, self.holders, number
        )
        return head + self.enrolment.digest + self.parameters.fingerprint + content

    def commitment(self, number: int, share: Buffer, nonce: Buffer) -> bytes:
        """Return H(share, nonce), bound to run and holder."""
        return hashlib.sha256(self.statement("commitment", number, bytes(nonce)) + bytes(share)).digest()

    def key_digest(self, packed: Buffer) -> bytes:
        """Return the name of the joint key whose packed b this is, bound to the run."""
        return hashlib.sha256(self.statement("key", 0, bytes(packed))).digest()

    def require_signed(self, step: str, number: int, content: bytes, signature: bytes) -> None:
        """Refuse what holder ``number`` has not signed.

        Raises:
            KeyRefused: ``forged``.
        """
        public = self.enrolment.keyholders[number]
        if not verify(public, self.statement(step, number, content), signature):
            raise KeyRefused("forged", f"{step} of key holder {number} is not signed by it")
