"""The picture shows what relays hold, and says in numbers how much of the image that is."""

import numpy as np
import pytest

from fedpriv.attacks.relays.holdings import eye_images
from fedpriv.attacks.relays.original_server import bands, slot
from fedpriv.attacks.relays.pictures import draw_rows, likeness, opened_row, original_row, sealed_row
from fedpriv.sharing.envelope import HEADER_BYTES
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES, pack
from fedpriv.sharing.scheme import Scheme

EYE = eye_images(1, seed=2)[0]
NAMES = "dab"


@pytest.fixture
def shares() -> dict[str, bytes]:
    split = Scheme("additive", 3, 3).split(pack(EYE, (0,), DEFAULT_PAYLOAD_BYTES))
    return dict(zip(NAMES, split, strict=True))


def original():
    where = slot(4, 0)
    return original_row(EYE, {band["server"]: band for band in bands(EYE, where)}, where.servers)


def test_bands_lie_where_they_were_cut_and_together_are_the_image() -> None:
    row = original()
    assert set(row.held) == set(slot(4, 0).servers)
    for place, name in enumerate(slot(4, 0).servers):
        rows = slice(12 * place, 12 * place + 12)
        np.testing.assert_array_equal(row.held[name][rows], EYE[rows])
        assert (np.delete(row.held[name], np.r_[rows], axis=0) == -1).all()
    np.testing.assert_array_equal(row.together, EYE)
    np.testing.assert_array_equal(row.pooled[:24], EYE[:24])
    assert (row.pooled[24:] == -1).all()
    assert likeness(row.together, EYE) == pytest.approx(1.0)
    assert likeness(row.pooled, EYE) > 0.6


def test_opened_shares_are_noise_until_all_of_them_are_there(shares) -> None:
    row = opened_row(EYE, shares)
    np.testing.assert_array_equal(row.together, EYE)
    assert abs(likeness(row.pooled, EYE)) < 0.1
    assert all(abs(likeness(seen, EYE)) < 0.1 for seen in row.held.values())
    assert row.captions == {"d": "share 1 of 3", "a": "share 2 of 3", "b": "share 3 of 3"}


def test_what_is_sealed_is_drawn_from_behind_header_and_salt() -> None:
    marked = bytes(HEADER_BYTES + 32 + 8) + EYE.tobytes() + bytes(DEFAULT_PAYLOAD_BYTES - 8 - EYE.size + 16)
    row = sealed_row(EYE, {"d": marked, "a": bytes(len(marked)), "b": bytes(len(marked))})
    np.testing.assert_array_equal(row.held["d"], EYE)
    np.testing.assert_array_equal(row.pooled, EYE)
    assert set(row.held) == {"d", "a", "b"}


def cell(sheet: np.ndarray, column: int) -> np.ndarray:
    """Return the pixels of a cell of the first row, one sample for each."""
    rows = 66 + ((np.arange(36) + 0.5) * 106 / 36).astype(int)
    columns = 14 + 190 * column + ((np.arange(60) + 0.5) * 176 / 60).astype(int)
    return sheet[np.ix_(rows, columns)]


def test_every_cell_of_the_sheet_shows_its_picture(shares) -> None:
    row = opened_row(EYE, shares)
    sheet = np.asarray(draw_rows([row, original()]))
    for column, seen in enumerate(
        (row.image, row.held["a"], row.held["b"], None, row.held["d"], row.pooled, row.together)
    ):
        if seen is not None:
            np.testing.assert_array_equal(cell(sheet, column)[..., 1], seen)
    assert len(np.unique(cell(sheet, 3))) <= 6  # relay c has no piece: background and a stroke


def test_what_shows_and_what_does_not_is_marked(shares) -> None:
    good, bad = (96, 208, 140), (255, 120, 96)

    def has(sheet, colour):
        return bool((np.asarray(sheet) == np.array(colour)).all(axis=2).any())

    clear, opened = draw_rows([original()]), draw_rows([opened_row(EYE, shares)])
    assert (has(clear, good), has(clear, bad)) == (False, True)
    assert (has(opened, good), has(opened, bad)) == (True, True)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        draw_rows([])


def test_likeness_of_nothing_known_is_no_error() -> None:
    assert likeness(np.full(EYE.shape, -1, np.int16), EYE) < 0.3
