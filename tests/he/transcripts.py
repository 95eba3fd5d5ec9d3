"""Transcripts to try things on: who signs them, one with three rounds, and what is asked of every refusal."""

import pytest

from fedpriv.errors import UserError
from fedpriv.he.identity import SigningKey
from fedpriv.he.transcript import Transcript

RUN, OTHER = bytes(16), bytes([1]) * 16
SIGNER = SigningKey.generate()


def transcript_at(path, signer=SIGNER):
    return Transcript(path, signer)


def three_rounds(path):
    """Write a transcript with three rounds, of which two were answered."""
    transcript = transcript_at(path)
    for number in (1, 2, 3):
        assert transcript.claim(RUN, number, [4, 2], [b"header of 4", b"header of 2"])
        if number < 3:
            transcript.note_answer(RUN, number, b"answer %d" % number)
    transcript.note_refusal(RUN, 9, "too_few_clients")
    return path


def head(path):
    return path.with_name(f"{path.name}.head")


def refused(path, match):
    for use in (
        lambda transcript: transcript.answered(RUN, 1),
        lambda transcript: transcript.claim(RUN, 50, [], []),
        lambda transcript: transcript.note_refusal(RUN, 1, "forged"),
    ):
        before = path.read_bytes() if path.exists() else b""
        with pytest.raises(UserError, match=match):
            use(transcript_at(path))
        assert (path.read_bytes() if path.exists() else b"") == before
