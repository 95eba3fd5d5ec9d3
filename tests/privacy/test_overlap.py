import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.overlap import Overlap

LISTS = st.lists(st.integers(0, 12).map(lambda digit: digit * 2**60), max_size=9)


def share(digests):
    return of_digests(np.array(digests, np.uint64))


@settings(max_examples=300, deadline=None)
@given(sets=st.lists(LISTS, max_size=6), examples=LISTS)
def test_overlap_is_what_brute_force_finds(sets, examples):
    overlap = Overlap([share(each) for each in sets])
    combinations = {tuple(n for n, each in enumerate(sets) if example in each) for example in examples}
    assert overlap.combinations(share(examples)) == combinations
    touching = {n: set(each) <= set(examples) for n, each in enumerate(sets) if set(each) & set(examples)}
    assert overlap.touching(share(examples)) == touching
