"""Records survive the trip; what is malformed is refused with a cause and never an exception."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.federated import messages
from fedpriv.federated.messages import Description, MessageError, ReleaseRequest, TrainReply, TrainRequest

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


def test_a_train_reply_survives_unopened():
    got = TrainReply.from_content(TrainReply("bfv", b"sealed", {"train-loss": 1.5}).to_content(), "bfv")
    assert (got.sealed, got.metrics) == (b"sealed", {"train-loss": 1.5})


def test_a_reply_of_another_scheme_is_refused_by_name():
    with pytest.raises(MessageError, match="wrong_scheme"):
        TrainReply.from_content(TrainReply("plain", b"x").to_content(), "bfv")


def test_a_release_request_survives():
    got = ReleaseRequest.from_content(ReleaseRequest("ab" * 16, 2, 7, b"sum").to_content())
    assert got == ReleaseRequest("ab" * 16, 2, 7, b"sum")


def test_a_sum_of_another_length_is_malformed():
    with pytest.raises(MessageError, match="malformed"):
        messages.unpack_sum(messages.pack_sum(np.zeros(4)), 5)


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


@given(st.dictionaries(st.sampled_from(["run", "round", "weight", "count", "role", "partition"]), _VALUES))
def test_arbitrary_records_raise_message_errors_only(fields):
    content = RecordDict(
        {
            "request": ConfigRecord(fields),
            "node": ConfigRecord(fields),
            "status": ConfigRecord({"outcome": "ok"}),
        }
    )
    for parse in (TrainRequest.from_content, ReleaseRequest.from_content, Description.from_content):
        with pytest.raises(MessageError):
            parse(content)
