"""What the server asks the key holder: ciphertexts, and which of their slots count.

It holds no name of a person: only numbers of blocks and slots.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fedpriv.he.matching.places import Place
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys

Kind = Literal["verify", "identify", "accepted", "scores"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Question:
    """A question, ready to be sent; not signed: carry it so that the key holder knows it is the server's.

    Attributes:
        keys: that it is under.
        kind: ``verify`` one person; ``identify`` the best above the threshold; ``accepted`` all above it;
            ``scores`` raw.
        asked: slots that count, block by block in the order of the ciphertexts.
        ciphertexts: one for each of ``asked``, then the claims of an encrypted probe, if it is one.
        names: who is in a slot; stays at the server.
    """

    keys: PublicKeys
    kind: Kind
    asked: Sequence[Place]
    ciphertexts: Sequence[Any]
    names: Mapping[tuple[int, int], str] = field(default_factory=dict, repr=False)

    def chunks(self) -> Iterator[bytes]:
        """Yield the cipher set to send: 123 kB for each block of 4,096 people."""
        evaluation = Evaluation(self.keys)
        claims = len(self.ciphertexts) - len(self.asked)
        metadata = {
            "kind": "question",
            "ask": self.kind,
            "claims": claims,
            "asked": [place.to_json(self.keys.set.slots) for place in self.asked],
        }
        head = CipherHead(
            self.keys.set,
            self.keys.fingerprint,
            evaluation.shape(self.ciphertexts[0]),
            len(self.ciphertexts),
            metadata,
            signed=False,
        )
        stream = CipherStream(head)
        yield stream.head()
        for each in self.ciphertexts:
            yield stream.body(evaluation.dump(each))
        yield stream.tail()

    def to_bytes(self) -> bytes:
        """Return the whole cipher set."""
        return b"".join(self.chunks())

    def person(self, block: int, slot: int) -> str:
        """Return who was asked about in a slot; KeyError when nobody was."""
        return self.names[block, slot]
