"""The joint public key of a committee as clients and server have it: with every holder's endorsement.

How it is made: :mod:`fedpriv.he.ceremony`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tenseal import sealapi

from fedpriv.he.ceremony import Ceremony
from fedpriv.he.codec import Buffer, KeyRefused
from fedpriv.he.identity import SIGNATURE_BYTES
from fedpriv.he.sealio import SealBuffer, SealDataError


@dataclass(frozen=True)
class JointKey:
    """A public key that all holders have signed.

    Attributes:
        digest: SHA-256 that names it.
        public: ``sealapi.PublicKey``.
    """

    digest: bytes
    public: object


def assemble(reveals: Sequence[Buffer], endorsements: Sequence[Buffer]) -> bytes:
    """Return the joint key with its endorsements, for clients: what the server passes on.

    Raises:
        KeyRefused: when the holders do not endorse one key.
    """
    keys = {bytes(blob[SIGNATURE_BYTES:]) for blob in endorsements}
    if len(keys) != 1 or len(reveals) != len(endorsements):
        raise KeyRefused("wrong_key", "the key holders endorse different keys")
    return b"".join([*(bytes(blob[:SIGNATURE_BYTES]) for blob in endorsements), keys.pop()])


def check_joint_key(data: Buffer, ceremony: Ceremony) -> JointKey:
    """Return the joint key once every endorsement has been checked.

    Raises:
        KeyRefused: ``malformed`` or ``forged``.
    """
    signatures = ceremony.holders * SIGNATURE_BYTES
    if len(data) != signatures + ceremony.wire.polynomial_bytes:
        raise KeyRefused("malformed", f"joint key of {len(data)} bytes")
    packed = bytes(data[signatures:])
    digest = ceremony.key_digest(packed)
    for number in range(ceremony.holders):
        signature = bytes(data[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES])
        ceremony.require_signed("endorse", number, digest, signature)
    try:
        with SealBuffer() as buffer:
            polynomial = ceremony.wire.unpack(packed)
            public = ceremony.wire.join(buffer, polynomial, ceremony.common, target=sealapi.PublicKey())
    except SealDataError as error:
        raise KeyRefused("malformed", str(error)) from error
    return JointKey(digest, public)
