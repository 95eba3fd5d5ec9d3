"""Records survive the trip; what is malformed is refused with a cause and never an exception."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.federated import holder_messages, messages
from fedpriv.federated.holder_messages import KeysRequest
from fedpriv.federated.messages import Description, MessageError, TrainReply, TrainRequest
from fedpriv.he.answer import SignedAnswer
from fedpriv.he.envelope import SIGNED_BYTES
from fedpriv.he.key_steps import STEPS

VECTOR = np.arange(5, dtype=np.float32)


def test_parameters_survive_and_are_a_view_of_the_message():
    record = messages.pack_parameters(VECTOR)
    vector = messages.unpack_parameters(record)
    np.testing.assert_array_equal(vector, VECTOR)
    assert not vector.flags.owndata
    assert record["parameters"].stype == "fedpriv.parameters.v1"


@pytest.mark.parametrize(
    "array",
    [
        Array("float64", (5,), messages.PARAMETERS_STYPE, VECTOR.astype("<f8").tobytes()),
        Array("float32", (6,), messages.PARAMETERS_STYPE, VECTOR.tobytes()),
        Array("float32", (5, 1), messages.PARAMETERS_STYPE, VECTOR.tobytes()),
        Array("float32", (5,), "numpy.ndarray", VECTOR.tobytes()),
    ],
)
def test_parameters_of_another_form_are_malformed(array):
    with pytest.raises(MessageError, match="malformed"):
        messages.unpack_parameters(ArrayRecord({"parameters": array}))


def test_a_train_request_survives():
    request = TrainRequest("ab" * 16, 3, 0.5, {"proximal-mu": 0.1}, VECTOR)
    got = TrainRequest.from_content(request.to_content(messages.pack_parameters(VECTOR)))
    assert (got.run_id, got.round, got.weight, got.settings) == ("ab" * 16, 3, 0.5, {"proximal-mu": 0.1})


def test_a_cohort_shares_one_copy_of_the_model():
    model = messages.pack_parameters(VECTOR)
    contents = [TrainRequest("ab" * 16, 1, 1.0, {}, VECTOR).to_content(model) for _ in range(3)]
    assert len({id(content.array_records["model"]["parameters"]) for content in contents}) == 1


def test_a_public_key_travels_with_the_request_and_a_cohort_shares_one_copy():
    model, key = messages.pack_parameters(VECTOR), messages.pack_public_key(b"joint key")
    contents = [TrainRequest("ab" * 16, 1, 1.0, {}, VECTOR).to_content(model, key) for _ in range(3)]
    assert {TrainRequest.from_content(content).public_key for content in contents} == {b"joint key"}
    assert len({id(content.array_records["key"]["public"]) for content in contents}) == 1


def test_a_key_record_without_a_key_is_malformed():
    content = TrainRequest("ab" * 16, 1, 1.0, {}, VECTOR).to_content(
        messages.pack_parameters(VECTOR), ArrayRecord({})
    )
    with pytest.raises(MessageError, match="malformed"):
        TrainRequest.from_content(content)


def test_a_train_reply_survives_unopened():
    got = TrainReply.from_content(TrainReply("bfv", b"sealed", {"train-loss": 1.5}).to_content(), "bfv")
    assert (got.sealed, got.metrics) == (b"sealed", {"train-loss": 1.5})


def test_a_reply_of_another_scheme_is_refused_by_name():
    with pytest.raises(MessageError, match="wrong_scheme"):
        TrainReply.from_content(TrainReply("plain", b"x").to_content(), "bfv")


SIGNED = [bytes([number]) * SIGNED_BYTES for number in range(3)]
MASKS = [b"a", b"", b"ccc"]


def open_content(signed=SIGNED, masks=MASKS, body_sum=b"sum"):
    parts = holder_messages.pack_open_parts(signed, body_sum)
    return holder_messages.pack_open(bytes(range(16)), 2, parts, holder_messages.pack_blobs(masks))


def test_a_request_to_open_survives_with_masks_and_sum_uncopied():
    content = open_content()
    got = holder_messages.unpack_open(content)
    assert (got.run_id, got.round) == (bytes(range(16)), 2)
    assert (list(got.signed), list(got.masks), got.body_sum) == (SIGNED, MASKS, b"sum")
    assert got.masks[2] is content.array_records["masks"]["2"].data
    assert got.body_sum is content.array_records["parts"]["sum"].data


@pytest.mark.parametrize(
    "content",
    [
        open_content(signed=SIGNED[:2]),
        open_content(signed=[*SIGNED[:2], SIGNED[2][:-1]]),
        open_content(masks=MASKS[:2]),
        RecordDict({"request": ConfigRecord({"run": "xy", "round": 1})}),
    ],
    ids=["a header too few", "a short header", "a mask too few", "nothing to open"],
)
def test_a_request_to_open_whose_parts_disagree_is_malformed(content):
    with pytest.raises(MessageError, match="malformed"):
        holder_messages.unpack_open(content)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_key_making_survives(step):
    blobs = [b"0", b"11", b""]
    content = KeysRequest("ab" * 16, step, blobs).to_content(holder_messages.pack_blobs(blobs))
    assert KeysRequest.from_content(content) == KeysRequest("ab" * 16, step, blobs)


def test_an_unknown_step_is_malformed():
    content = KeysRequest("ab" * 16, "hand over", []).to_content(holder_messages.pack_blobs([]))
    with pytest.raises(MessageError, match="malformed"):
        KeysRequest.from_content(content)


def test_more_than_ten_blobs_keep_their_order_and_a_missing_one_is_malformed():
    blobs = [bytes([number]) for number in range(16)]
    record = holder_messages.pack_blobs(blobs)
    assert holder_messages.unpack_blobs(record) == blobs
    del record["7"]
    with pytest.raises(MessageError, match="malformed"):
        holder_messages.unpack_blobs(record)


def test_an_answer_survives_and_a_refusal_keeps_its_cause():
    assert holder_messages.unpack_answer(holder_messages.pack_answer(b"share")) == b"share"
    with pytest.raises(MessageError, match="already_released"):
        holder_messages.unpack_answer(messages.failure("already_released"))
    with pytest.raises(MessageError, match="malformed"):
        holder_messages.unpack_answer(RecordDict({"status": ConfigRecord({"outcome": "ok"})}))


def test_a_signed_answer_travels_with_its_signature_and_not_without():
    signed = SignedAnswer(b"share", bytes(range(64)))
    assert holder_messages.unpack_signed_answer(holder_messages.pack_signed_answer(signed)) == signed
    for content, cause in (
        (holder_messages.pack_answer(b"share"), "forged"),
        (holder_messages.pack_signed_answer(SignedAnswer(b"share", bytes(63))), "forged"),
        (holder_messages.pack_signed_answer(SignedAnswer(b"share", b"")), "forged"),
        (messages.failure("already_released"), "already_released"),
        (RecordDict({"status": ConfigRecord({"outcome": "ok"})}), "malformed"),
    ):
        with pytest.raises(MessageError) as caught:
            holder_messages.unpack_signed_answer(content)
        assert caught.value.cause == cause


@pytest.mark.parametrize("role", ["admin", "", "server"])
def test_an_unknown_role_is_refused(role):
    with pytest.raises(MessageError, match="malformed"):
        Description.from_content(Description(role, 0, 5).to_content())


@given(st.text(max_size=80))
def test_a_cause_is_an_identifier_or_unknown(text):
    with pytest.raises(MessageError) as caught:
        messages.raise_failure(messages.failure(text))
    assert caught.value.cause.isidentifier()
    assert len(caught.value.cause) <= 32


_VALUES = st.one_of(
    st.integers(-9, 9), st.floats(), st.text(max_size=4), st.booleans(), st.binary(max_size=4)
)


@given(st.dictionaries(st.sampled_from(["run", "round", "weight", "step", "role", "number"]), _VALUES))
def test_arbitrary_records_raise_message_errors_only(fields):
    content = RecordDict(
        {
            "request": ConfigRecord(fields),
            "node": ConfigRecord(fields),
            "status": ConfigRecord({"outcome": "ok"}),
        }
    )
    parsers = (
        TrainRequest.from_content,
        KeysRequest.from_content,
        holder_messages.unpack_open,
        Description.from_content,
    )
    for parse in parsers:
        with pytest.raises(MessageError):
            parse(content)
