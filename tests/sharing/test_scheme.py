"""Schemes over byte strings."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.sharing.scheme import Scheme, every_scheme


@settings(deadline=None)
@given(payload=st.binary(min_size=1, max_size=40), draw=st.data())
def test_any_t_shares_give_the_payload_back_for_every_scheme(payload, draw):
    scheme = draw.draw(st.sampled_from(every_scheme(6)))
    shares = scheme.split(payload)
    assert [len(share) for share in shares] == [scheme.share_bytes(len(payload))] * scheme.n
    chosen = draw.draw(st.permutations(range(scheme.n)))[: draw.draw(st.integers(scheme.t, scheme.n))]
    assert scheme.combine({which: shares[which] for which in chosen}, len(payload)) == payload


def test_every_scheme_lists_each_once():
    assert every_scheme(3) == (
        Scheme("additive", 2, 2),
        Scheme("additive", 3, 3),
        Scheme("shamir", 2, 2),
        Scheme("shamir", 3, 2),
        Scheme("shamir", 3, 3),
    )
    assert every_scheme(1) == ()


def test_the_wire_numbers_name_each_scheme():
    for scheme in every_scheme(5):
        assert Scheme.from_wire(*scheme.wire) == scheme
    assert Scheme("additive", 3, 3).wire == (1, 3, 3)
    assert Scheme("shamir", 4, 2).wire == (2, 4, 2)


@pytest.mark.parametrize(
    "wire", [(0, 3, 3), (3, 3, 3), (1, 3, 2), (1, 1, 1), (2, 3, 1), (2, 2, 3), (2, 0, 0)]
)
def test_wire_numbers_of_no_scheme_are_refused(wire):
    with pytest.raises(ValueError, match=r"scheme|need"):
        Scheme.from_wire(*wire)


@pytest.mark.parametrize(
    ("kind", "n", "t"), [("xor", 3, 3), ("additive", 3, 2), ("additive", 256, 256), ("shamir", 3, 4)]
)
def test_a_scheme_that_does_not_exist_is_refused(kind, n, t):
    with pytest.raises(ValueError, match=kind):
        Scheme(kind, n, t)


@pytest.mark.parametrize("scheme", [Scheme("additive", 3, 3), Scheme("shamir", 3, 2)])
def test_too_few_foreign_or_misshapen_shares_are_refused(scheme):
    shares = dict(enumerate(scheme.split(b"abcdef")))
    with pytest.raises(ValueError, match="need"):
        scheme.combine(dict(itertools.islice(shares.items(), scheme.t - 1)), 6)
    with pytest.raises(ValueError, match="need"):
        scheme.combine({**shares, 3: shares[0]}, 6)
    with pytest.raises(ValueError, match="bytes"):
        scheme.combine({**shares, 0: shares[0][:-1]}, 6)
