import hashlib
import struct
from fractions import Fraction

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.computing import write_sums
from fedpriv.he.tables.models import TableModel
from fedpriv.he.tables.opening import read_values
from fedpriv.he.tables.partials import opener, partial_of, private_noise, read_head
from fedpriv.he.tables.release import PrivateRelease
from fedpriv.he.tables.scoring import read_scores, write_scores
from fedpriv.he.users.shares import UserShare, split
from fedpriv.privacy.noise import FastSource
from tests.he.tables.tables import encrypted, random_csv

HOLDERS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory, owner):
    made = tmp_path_factory.mktemp("partials")
    encrypted(random_csv(made / "a.csv", 30, 7), owner)
    for name in ("r", "other"):
        write_sums(made / name, [made / "a.table"], owner.public, pairs=False)
    (made / "keys").mkdir(mode=0o700)
    for number, share in enumerate(split(owner, made / "keys", HOLDERS), 1):
        (made / f"{number}.partial").write_bytes(partial_of(made / "r", UserShare.load(share, "table")))
    return made


def partials(folder, numbers):
    return [folder / f"{number}.partial" for number in numbers]


def test_all_holders_together_open_what_the_whole_key_opens(folder, owner):
    _, expected = read_values(folder / "r", owner.public, owner.decrypt_integers)
    together = opener(partials(folder, [3, 1, 2]), folder / "r", owner.public)
    _, found = read_values(folder / "r", owner.public, together)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("numbers", [[1, 2], [1], [1, 2, 2], [1, 2, 3, 3]])
def test_fewer_holders_or_one_twice_open_nothing(folder, owner, numbers):
    with pytest.raises(UserError, match=r"holder [123] is missing or there twice"):
        opener(partials(folder, numbers), folder / "r", owner.public)


def test_an_answer_is_for_one_result_and_whole(folder, owner, tmp_path):
    with pytest.raises(UserError, match="answers for another result"):
        opener(partials(folder, [1, 2, 3]), folder / "other", owner.public)
    data = bytearray((folder / "1.partial").read_bytes())
    data[500] ^= 1
    (tmp_path / "1").write_bytes(data)
    with pytest.raises(UserError, match="damaged; ask the holder again"):
        opener([tmp_path / "1", *partials(folder, [2, 3])], folder / "r", owner.public)
    (tmp_path / "2").write_bytes(bytes(data[:300]))
    with pytest.raises(UserError, match="damaged"):
        opener([tmp_path / "2", *partials(folder, [2, 3])], folder / "r", owner.public)
    with pytest.raises(UserError, match="is no holder's answer"):
        opener([folder / "a.csv", *partials(folder, [2, 3])], folder / "r", owner.public)


def test_an_answer_of_another_length_is_refused(folder, owner, tmp_path):
    whole = (folder / "1.partial").read_bytes()
    size, count = struct.unpack_from("<QQ", whole, 80)
    for kept in (0, count - 1):
        cut = whole[:88] + struct.pack("<Q", kept) + whole[96 : 96 + kept * size]
        (tmp_path / "1").write_bytes(cut + hashlib.sha256(cut).digest())
        with pytest.raises(UserError, match="an answer for another number"):
            opener([tmp_path / "1", *partials(folder, [2, 3])], folder / "r", owner.public)


def test_all_holders_together_open_scores(folder, owner, tmp_path):
    model = TableModel("linear", Fraction(1, 2), {"age": Fraction(3)}, {"age": Fraction(40)})
    write_scores(tmp_path / "s", [folder / "a.table"], owner.public, model)
    for number in range(1, HOLDERS + 1):
        share = UserShare.load(folder / "keys" / f"holder-{number}", "table")
        (tmp_path / f"{number}.partial").write_bytes(partial_of(tmp_path / "s", share))
    together = opener(partials(tmp_path, [1, 2, 3]), tmp_path / "s", owner.public)
    expected = read_scores(tmp_path / "s", owner.public, owner.decrypt_integers)[1][0]
    found = read_scores(tmp_path / "s", owner.public, together)[1][0]
    assert (found == expected).all()
    assert len(set(found[:30])) > 10


def test_the_noise_of_a_holder_is_in_what_opens_exactly(folder, owner, tmp_path):
    head, expected = read_values(folder / "r", owner.public, owner.decrypt_integers)
    release = PrivateRelease(head.schema, head.pairs, 1.0, 1e-6)
    noise = private_noise(
        release, read_head(folder / "r", owner.public), owner.public, HOLDERS, FastSource(1)
    )
    share = UserShare.load(folder / "keys" / "holder-2", "table")
    (tmp_path / "2").write_bytes(partial_of(folder / "r", share, noise))
    together = opener([tmp_path / "2", *partials(folder, [1, 3])], folder / "r", owner.public)
    _, found = read_values(folder / "r", owner.public, together)
    for got, exact, added in zip(found, expected, noise, strict=True):
        assert (got == exact + added).all()
    assert any(np.any(added) for added in noise)
