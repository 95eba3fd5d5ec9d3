"""The expressions' one order, and every data set's labels against hand-written expectations."""

import numpy as np
import pytest

from fedpriv.data import emotions
from fedpriv.data.emotions import EMOTIONS, LabelTable, canonical, own_labels


def test_the_order_is_fer2013s() -> None:
    assert EMOTIONS == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.mark.parametrize(
    ("table", "first", "names"),
    [
        # 0 Angry, 1 Disgust, 2 Fear, 3 Happy, 4 Sad, 5 Surprise, 6 Neutral
        (emotions.FER2013, 0, "angry disgust fear happy sad surprise neutral"),
        # neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF
        (emotions.FER_PLUS, 0, "neutral happy surprise sad angry disgust fear - - -"),
        # 1..7 = Surprise, Fear, Disgust, Happiness, Sadness, Anger, Neutral
        (emotions.RAF_DB, 1, "surprise fear disgust happy sad angry neutral"),
        # 0 Neutral, 1 Happy, 2 Sad, 3 Surprise, 4 Fear, 5 Disgust, 6 Anger, 7 Contempt, 8 None, 9 Uncertain,
        # 10 No-Face
        (emotions.AFFECTNET, 0, "neutral happy sad surprise fear disgust angry - - - -"),
        # 0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happy, 6 sadness, 7 surprise
        (emotions.CK_PLUS, 0, "neutral angry - disgust fear happy sad surprise"),
    ],
    ids=["fer2013", "fer_plus", "raf_db", "affectnet", "ck_plus"],
)
def test_every_own_label_means_what_its_publishers_say(table: LabelTable, first: int, names: str) -> None:
    expected = {first + place: name for place, name in enumerate(names.split())}
    found = {label: "-" if index is None else EMOTIONS[index] for label, index in table.items()}
    assert found == expected


def test_own_labels_are_the_inverse() -> None:
    assert own_labels(emotions.RAF_DB) == (6, 3, 2, 4, 5, 1, 7)
    assert own_labels(emotions.AFFECTNET) == (6, 5, 4, 1, 2, 3, 0)
    assert own_labels(emotions.CK_PLUS) == (1, 3, 4, 5, 6, 7, 0)
    assert own_labels(emotions.FER2013) == tuple(range(7))


def test_what_is_none_of_the_seven_is_left_out_and_counted() -> None:
    found = canonical(np.array([7, 0, 1, 7, 10, 6], dtype=np.int64), emotions.AFFECTNET)
    assert [EMOTIONS[target] for target in found.targets] == ["neutral", "happy", "angry"]
    assert found.kept.tolist() == [1, 2, 5]
    assert found.left_out == {7: 2, 10: 1}


def test_nothing_to_translate_gives_nothing() -> None:
    found = canonical(np.zeros(0, dtype=np.int64), emotions.RAF_DB)
    assert len(found.targets) == len(found.kept) == 0
    assert found.left_out == {}


@pytest.mark.parametrize("label", [-1, 0, 8])
def test_a_label_beyond_the_table_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"labels: {label} is none of 1, 2, 3, 4, 5, 6, 7"):
        canonical(np.array([1, label], dtype=np.int64), emotions.RAF_DB)
