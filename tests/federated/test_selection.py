import numpy as np
import pytest

from fedpriv.federated.keyholder import OpenRequest, Refusal
from fedpriv.federated.messages import MessageError
from fedpriv.federated.selection import SelectingKeyHolder, Selection
from fedpriv.he.plain import PlainCodec
from fedpriv.he.selection import pack_selection
from fedpriv.he.selective import SelectiveCodec


def packed(*chosen, length=10):
    selected = np.zeros(length, np.bool_)
    selected[list(chosen)] = True
    return pack_selection(selected)


def refused(selection, data):
    with pytest.raises(MessageError) as refusal:
        selection.codec(PlainCodec(max_clients=2), data)
    return refusal.value.cause == "wrong_selection"


def test_the_first_selection_is_kept_and_another_is_refused():
    selection, inner = Selection(0.25, 10), PlainCodec(max_clients=2)
    codec = selection.codec(inner, packed(1, 4, 9))
    assert isinstance(codec, SelectiveCodec)
    assert np.flatnonzero(codec.selected).tolist() == [1, 4, 9]
    assert refused(selection, packed(1, 4, 8))
    assert refused(selection, None)
    assert selection.codec(inner, packed(1, 4, 9)) is codec


@pytest.mark.parametrize(
    "bad",
    [None, b"", packed(1, 4), packed(1, 2, 3, 4), packed(1, 4, 9, length=17), packed(1, 4, 12, length=16)],
)
def test_what_is_no_selection_of_the_promised_size_is_refused_and_not_kept(bad):
    selection = Selection(0.25, 10)
    assert refused(selection, bad)
    assert selection.codec(PlainCodec(max_clients=2), packed(0, 1, 2)).clear_fraction == 0.7


def test_a_server_that_could_choose_nothing_has_everything_encrypted_from_then_on():
    selection, inner = Selection(0.25, 10), PlainCodec(max_clients=2)
    assert selection.codec(inner, packed(*range(10))) is inner
    assert refused(selection, packed(1, 4, 9))
    assert selection.codec(inner, packed(*range(10))) is inner


def test_a_choice_that_was_made_is_not_taken_back_by_one_of_everything():
    selection = Selection(0.25, 10)
    selection.codec(PlainCodec(max_clients=2), packed(1, 4, 9))
    assert refused(selection, packed(*range(10)))


def test_another_inner_codec_gets_the_same_selection():
    selection = Selection(0.25, 10)
    selection.codec(PlainCodec(max_clients=2), packed(1, 4, 9))
    other = PlainCodec(max_clients=3)
    assert selection.codec(other, packed(1, 4, 9)).inner is other
    assert refused(selection, packed(0, 4, 9))


def test_a_share_that_comes_to_everything_leaves_nothing_in_clear():
    selection, inner = Selection(0.95, 10), PlainCodec(max_clients=2)
    assert selection.codec(inner, packed(*range(10))) is inner


class Recorder:
    """Stands for a key holder; says who was asked for what."""

    def __init__(self, name):
        self.name = name

    def open(self, request):
        return f"{self.name} opens round {request.round}".encode()


def request(number, selection):
    return OpenRequest(bytes(16), number, [], [], b"", selection)


def test_round_zero_is_opened_whole_and_later_rounds_with_the_one_selection():
    made = []

    def around(codec):
        made.append(codec)
        return Recorder("selected")

    inner = PlainCodec(max_clients=2)
    holder = SelectingKeyHolder(Recorder("whole"), Selection(0.25, 10), inner, around)
    assert holder.open(request(0, None)) == b"whole opens round 0"
    for number in (1, 2):
        assert holder.open(request(number, packed(1, 4, 9))) == b"selected opens round %d" % number
    assert len(made) == 1
    assert np.flatnonzero(made[0].selected).tolist() == [1, 4, 9]
    for wrong in (packed(1, 4, 8), None):
        with pytest.raises(Refusal) as refusal:
            holder.open(request(3, wrong))
        assert refusal.value.cause == "wrong_selection"
