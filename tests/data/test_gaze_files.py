"""What the readers of gaze data share: rows evenly spread."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.data.gaze_files import spread


@given(st.integers(0, 300), st.one_of(st.none(), st.integers(1, 300)))
def test_rows_are_distinct_ascending_and_evenly_apart(count, most):
    rows = spread(count, most)
    assert len(rows) == (count if most is None else min(count, most))
    if len(rows):
        assert rows[0] == 0
        assert rows[-1] < count
    gaps = np.diff(rows)
    assert (gaps >= 1).all()
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_no_limit_keeps_every_row():
    assert spread(4, None).tolist() == [0, 1, 2, 3]
    assert spread(10, 3).tolist() == [0, 3, 6]
