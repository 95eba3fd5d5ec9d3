"""What travels between server and key holders, as Flower records."""

from collections.abc import Sequence
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedpriv.federated.keyholder import OpenRequest
from fedpriv.federated.messages import (
    BYTES_STYPE,
    MessageError,
    bytes_array,
    integer,
    raise_failure,
    unpack_chosen,
)
from fedpriv.he.answer import SignedAnswer
from fedpriv.he.envelope import SIGNED_BYTES
from fedpriv.he.identity import SIGNATURE_BYTES
from fedpriv.he.key_steps import STEPS

MOST_KEY_BYTES = 1 << 24
"""A larger contribution to a committee's key is refused unread."""


@dataclass(frozen=True)
class KeysRequest:
    """One step of a committee's key making.

    Attributes:
        run_id: 32 hexadecimal digits.
        step: one of :data:`~fedpriv.he.key_steps.STEPS`.
        blobs: what all holders answered to the step before, in the order of their numbers.
    """

    run_id: str
    step: str
    blobs: Sequence[bytes]

    def to_content(self, blobs: ArrayRecord) -> RecordDict:
        """Build the message content around ``blobs``, see :func:`pack_blobs`, which all holders share."""
        return RecordDict({"blobs": blobs, "request": ConfigRecord({"run": self.run_id, "step": self.step})})

    @staticmethod
    def from_content(content: RecordDict) -> "KeysRequest":
        """Read a request.

        Raises:
            MessageError: ``malformed``.
        """
        try:
            request = content.config_records["request"]
            run_id, step = str(request["run"]), str(request["step"])
            blobs = unpack_blobs(content.array_records["blobs"])
        except KeyError as error:
            raise MessageError("malformed") from error
        if step not in STEPS:
            raise MessageError("malformed")
        return KeysRequest(run_id, step, blobs)


def pack_blobs(blobs: Sequence[bytes]) -> ArrayRecord:
    """Wrap byte strings, one Array each, under their indices; nothing is copied."""
    return ArrayRecord({str(index): bytes_array(blob) for index, blob in enumerate(blobs)})


def unpack_blobs(record: ArrayRecord) -> list[bytes]:
    """Return the byte strings in order, uncopied.

    Raises:
        MessageError: ``malformed`` when an index is missing.
    """
    try:
        return [record[str(index)].data for index in range(len(record))]
    except KeyError as error:
        raise MessageError("malformed") from error


def pack_open(
    run_id: bytes,
    server_round: int,
    parts: ArrayRecord,
    masks: ArrayRecord,
    chosen: ArrayRecord | None = None,
) -> RecordDict:
    """Build the content that asks a key holder to open a round; all holders share ``parts`` and ``masks``.

    Args:
        run_id: 16 bytes.
        server_round: the round.
        parts: see :func:`pack_open_parts`.
        masks: of the clients in the sum, in the order of their headers, see :func:`pack_blobs`.
        chosen: what these clients were told to encrypt, see :func:`unpack_chosen`; None for everything.
    """
    request = ConfigRecord({"run": run_id.hex(), "round": server_round})
    content = RecordDict({"request": request, "parts": parts, "masks": masks})
    if chosen is not None:
        content["chosen"] = chosen
    return content


def pack_open_parts(signed: Sequence[bytes], body_sum: bytes) -> ArrayRecord:
    """Wrap the signed headers of the clients in a sum, as one Array, and the sum of their bodies."""
    headers = b"".join(signed)
    return ArrayRecord(
        {
            "signed": Array("uint8", (len(signed), SIGNED_BYTES), BYTES_STYPE, headers),
            "sum": bytes_array(body_sum),
        }
    )


def unpack_open(content: RecordDict) -> OpenRequest:
    """Read a request to open a round; masks and sum stay the message's own bytes.

    Raises:
        MessageError: ``malformed``.
    """
    try:
        request, parts = content.config_records["request"], content.array_records["parts"]
        headers, body_sum = memoryview(parts["signed"].data), parts["sum"].data
        masks = unpack_blobs(content.array_records["masks"])
        run_id = bytes.fromhex(str(request["run"]))
        server_round = integer(request["round"])
        chosen = unpack_chosen(content)
    except (KeyError, ValueError) as error:
        raise MessageError("malformed") from error
    if len(headers) != len(masks) * SIGNED_BYTES:
        raise MessageError("malformed")
    signed = [bytes(headers[start : start + SIGNED_BYTES]) for start in range(0, len(headers), SIGNED_BYTES)]
    return OpenRequest(run_id, server_round, signed, masks, body_sum, chosen)


def pack_answer(answer: bytes) -> RecordDict:
    """Wrap what a key holder answers to a step of the key making."""
    return RecordDict(
        {"answer": ArrayRecord({"bytes": bytes_array(answer)}), "status": ConfigRecord({"outcome": "ok"})}
    )


def unpack_answer(content: RecordDict) -> bytes:
    """Return a key holder's answer, uncopied and unread.

    Raises:
        MessageError: with the key holder's own cause, or ``malformed``.
    """
    raise_failure(content)
    record = content.array_records.get("answer")
    array = None if record is None else record.get("bytes")
    if array is None:
        raise MessageError("malformed")
    return array.data


def pack_signed_answer(signed: SignedAnswer) -> RecordDict:
    """Wrap a key holder's part in opening a sum."""
    content = pack_answer(signed.answer)
    content.array_records["answer"]["signature"] = bytes_array(signed.signature)
    return content


def unpack_signed_answer(content: RecordDict) -> SignedAnswer:
    """Return a key holder's part in opening a sum, uncopied, unread and unverified.

    Raises:
        MessageError: with the key holder's own cause, ``forged`` without a signature, or ``malformed``.
    """
    answer = unpack_answer(content)
    signature = content.array_records["answer"].get("signature")
    if signature is None or len(signature.data) != SIGNATURE_BYTES:
        raise MessageError("forged")
    return SignedAnswer(answer, signature.data)
