"""Three key holders that have not begun to make their key, and what is asked of every refusal."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from fedpriv.he.ceremony import Ceremony
from fedpriv.he.codec import KeyRefused
from fedpriv.he.committee import CommitteeCodec
from fedpriv.he.committee_member import CommitteeMember
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.key_share import load_share
from fedpriv.he.registry import build_codec
from tests.he.parties import RUN, committee

HOLDERS = 3


@dataclass
class Party:
    """Three holders that have not begun yet."""

    codec: CommitteeCodec
    folders: list[Path]
    signers: list[SigningKey]
    enrolment: Enrolment
    members: list[CommitteeMember]

    @property
    def ceremony(self) -> Ceremony:
        return self.other()

    @property
    def parameters(self):
        return self.codec._encoding.parameters

    def other(self, **changes) -> Ceremony:
        fields = {"holders": HOLDERS, "run_id": RUN, "enrolment": self.enrolment}
        return Ceremony(self.parameters, **{**fields, **changes})

    def started_again(self, run_id=RUN) -> list[CommitteeMember]:
        """The same holders in another process, for this or another run."""
        return [
            self.codec.member(own, i, run_id, self.signers[i], self.enrolment)
            for i, own in enumerate(self.folders)
        ]

    def step(self, step, blobs=()):
        return [member.step(step, blobs) for member in self.members]

    def secrets(self):
        return [load_share(folder, self.parameters, HOLDERS).secret for folder in self.folders]


def party_in(folder: Path) -> Party:
    codec = build_codec("bfv", 16, keys="committee", holders=HOLDERS)
    folders, signers, enrolment = committee(folder, HOLDERS)
    party = Party(codec, folders, signers, enrolment, [])
    party.members = party.started_again()
    return party


KEPT = ["share.key", "transcript.jsonl", "transcript.jsonl.head"]
"""What is in a holder's folder when the key is made, without its signing key."""


def kept(party: Party) -> list[list[str]]:
    return [sorted(file.name for file in folder.iterdir()) for folder in party.folders]


def draft(folder: Path) -> Path:
    (found,) = folder.glob("*.share.draft")
    return found


def signed_commitment(party: Party, number: int, content: bytes = bytes(32)) -> bytes:
    """Another commitment of a holder than the one it made, signed as it should be."""
    return content + party.signers[number].sign(party.ceremony.statement("commit", number, content))


def refused(cause, call, *arguments):
    with pytest.raises(KeyRefused) as refusal:
        call(*arguments)
    assert refusal.value.cause == cause
