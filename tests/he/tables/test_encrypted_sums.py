import dataclasses
from pathlib import Path

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.computing import FLOOD_PRIMES, inspect, write_sums
from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import draft
from fedpriv.he.tables.encrypting import table_identity
from fedpriv.he.tables.opening import read_values
from fedpriv.he.tables.packing import Packing
from fedpriv.he.tables.plan import TablePlan
from fedpriv.he.tables.polynomials import Coefficients
from fedpriv.he.tables.schema import Schema
from fedpriv.he.tables.sums import Sums, gather
from fedpriv.he.tables.vectors import vectors_of
from fedpriv.he.users.bodies import polynomials
from fedpriv.he.users.cipher_reading import open_ciphers
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from fedpriv.he.users.smudging_room import noise_log2
from tests.he.tables.tables import POOL, encrypted, plain_sums, random_csv

ROWS = {"a": 1030, "b": 40}
NAMES = [each.name for each in dataclasses.fields(Sums) if each.name not in ("schema", "pairs", "bins")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, owner):
    """Two tables of one schema, one by the owner, one by somebody with the public key; a result of both."""
    made = tmp_path_factory.mktemp("tables")
    for name, rows in ROWS.items():
        encrypted(random_csv(made / f"{name}.csv", rows, rows), owner, public=name == "b")
    write_sums(made / "result", [made / "a.table", made / "b.table"], owner.public, pairs=True)
    return made


def clear_sums(folder: Path, name: str) -> tuple[Schema, Sums]:
    table = read_table(folder / f"{name}.csv")
    schema = draft(table, POOL)
    return schema, plain_sums(vectors_of(table, schema, True), schema)


def opened(path: Path, owner: UserKeys) -> Sums:
    head, values = read_values(path, owner.public, owner.decrypt_integers)
    return gather(head.schema, head.pairs, values)


def test_the_sums_of_pooled_tables_are_exactly_those_in_the_clear(folder, owner):
    found = opened(folder / "result", owner)
    parts = [clear_sums(folder, name)[1] for name in ROWS]
    for name in NAMES:
        expected = sum(getattr(part, name) for part in parts)
        assert (getattr(found, name) == expected).all(), name
    for column, counts in found.bins.items():
        assert (counts == sum(part.bins[column] for part in parts)).all()


def test_single_columns_alone_give_the_same_without_products(folder, owner, tmp_path):
    write_sums(tmp_path / "r", [folder / "a.table"], owner.public, pairs=False)
    found, (_, expected) = opened(tmp_path / "r", owner), clear_sums(folder, "a")
    for name in ("counts", "totals", "squares"):
        assert (getattr(found, name) == getattr(expected, name)).all(), name
    assert not found.pairs


def test_processes_give_what_one_gives(folder, owner, tmp_path):
    write_sums(tmp_path / "r", [folder / "a.table"], owner.public, pairs=False, workers=2)
    expected = clear_sums(folder, "a")[1]
    assert (opened(tmp_path / "r", owner).squares == expected.squares).all()


def test_all_other_coefficients_of_a_result_are_uniform(folder, owner):
    coefficients, packing = Coefficients(owner.set), Packing(owner.set.seal.poly_degree)
    plain = owner.set.seal.plain_modulus
    with open_ciphers(folder / "result", owner.public, most=100) as reader:
        schema = Schema.from_json("result", reader.head.metadata["schema"])
        plan = TablePlan(schema)
        for block, ciphertext in zip(plan.blocks(True), reader, strict=True):
            found = coefficients.coefficients(owner.decrypt_integers(ciphertext))
            held = packing.targets(plan.size(block.left), plan.size(block.right)).reshape(-1)
            others = np.delete(found, held) / plain + 0.5
            # Kolmogorov-Smirnov: beyond d / sqrt(n) with probability 2 exp(-2 d^2), for 3.2 that is 3e-9
            ranks = np.arange(1, len(others) + 1) / len(others)
            assert np.abs(np.sort(others) - ranks).max() < 3.2 / len(others) ** 0.5


def test_a_result_is_under_fresh_randomness(folder, owner, tmp_path):
    """Computing is deterministic but for mask and flooding, and only the flooding touches c1."""
    found = []
    for name in ("first", "second"):
        write_sums(tmp_path / name, [folder / "b.table"], owner.public, pairs=False)
        with open_ciphers(tmp_path / name, owner.public, most=100) as reader:
            found.append([polynomials(owner.set, each)[1] for each in reader])
    for first, second in zip(*found, strict=True):
        assert np.mean(first == second) < 0.01


def test_a_result_keeps_room_for_all_noise_that_is_to_come(folder, owner):
    # the bound of fedpriv.he.tables.partials.NOISE_LOG2, as noise budget: log2(q / 2 t) less 14 bits
    with open_ciphers(folder / "result", owner.public, most=100) as reader:
        assert min(owner.noise_budget(each) for each in reader) >= 61 - 14


@pytest.mark.parametrize("public", [False, True])
def test_what_products_leave_is_drowned_at_the_level_of_the_flooding(owner, public):
    """With all values as large as the smallest table allows: below 2^19, as FLOOD_LOG2 says."""
    evaluation, packing = Evaluation(owner.public), Packing(owner.set.seal.poly_degree)
    reach = int(((owner.set.seal.plain_modulus // 2) / packing.chunk) ** 0.5)
    encryptor = owner.public.encryptor() if public else owner.encryptor()
    coefficients = Coefficients(owner.set)
    whole = np.full((4, packing.chunk), reach, np.int64)
    left, right = (
        encryptor.ciphertext(encryptor.unsigned(coefficients.slots(each)))
        for each in (packing.left(whole), packing.right(whole))
    )
    product = evaluation.relinearise(evaluation.multiply(left, right))
    lower = evaluation.switch_down(product, FLOOD_PRIMES)
    assert noise_log2(owner.set, FLOOD_PRIMES, owner.noise_budget(lower)) <= 19


def test_a_missing_cell_and_padding_cannot_be_told_from_values(folder, owner, tmp_path):
    """Tables of other cells, rows and missing values have files of one length and head."""
    heads = []
    for rows in (1, 40):
        source = random_csv(tmp_path / f"{rows}.csv", rows, 5)
        source.write_text(source.read_text() + ",,,\n" * 3)
        path = encrypted(source, owner, draft(read_table(folder / "a.csv"), POOL))
        with open_ciphers(path, owner.public, most=100) as reader:
            metadata = dict(reader.head.metadata)
            metadata.pop("table")
            heads.append((path.stat().st_size, reader.head.count, metadata))
    assert heads[0] == heads[1]


def test_the_identity_of_a_table_is_that_of_its_cells_and_needs_the_secret(tmp_path):
    def named(text, secret=b"1"):
        (tmp_path / "t.csv").write_text(text)
        return table_identity(read_table(tmp_path / "t.csv"), secret)

    same = {named("a,b\n1,2\n3,\n"), named("B;A\r\nNA;3\r\n2;1\r\n"), named(",a,b\n0,1,2\n1,3,\n")}
    assert len(same) == 1
    others = {named("a,b\n1,2\n3,0\n"), named("a,c\n1,2\n3,\n"), named("a,b\n1,2\n"), named("a,b\n2,1\n3,\n")}
    assert len(others | same) == 5
    assert named("a,b\n1,2\n3,\n", b"2") not in same


def test_what_does_not_belong_together_is_refused(folder, owner, tmp_path):
    a, b = folder / "a.table", folder / "b.table"
    out = tmp_path / "r"
    with pytest.raises(UserError, match="is the same table as"):
        inspect([a, b, a], owner.public)
    other = encrypted(
        random_csv(tmp_path / "c.csv", 5, 1),
        owner,
        schema=dataclasses.replace(clear_sums(folder, "a")[0], levels=("f", "m", "x")),
    )
    with pytest.raises(UserError, match="has another schema than"):
        write_sums(out, [a, other], owner.public, pairs=True)
    with pytest.raises(UserError, match="is no encrypted table"):
        inspect([folder / "result"], owner.public)
    stranger = UserKeys.make(parameter_set("table"))
    with pytest.raises(UserError, match="key"):
        inspect([a], stranger.public)
    with pytest.raises(UserError, match="key"):
        read_values(folder / "result", stranger.public, stranger.decrypt_integers)
    assert not out.exists()


@pytest.mark.parametrize("place", [0, 4, 140, 400, 300_000, -1])
def test_a_damaged_table_leaves_no_result(folder, owner, tmp_path, place):
    data = bytearray((folder / "a.table").read_bytes())
    data[place] ^= 1
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(UserError, match=str(tmp_path / "t")):
        write_sums(tmp_path / "r", [tmp_path / "t"], owner.public, pairs=False)
    assert not (tmp_path / "r").exists()


def test_the_public_key_alone_opens_nothing(folder, owner):
    assert not hasattr(owner.public, "decrypt_integers")
    stranger = UserKeys.make(parameter_set("table"))
    with open_ciphers(folder / "result", owner.public, most=100) as reader:
        ciphertext = next(iter(reader))
    with pytest.raises(UserError, match="does not decrypt"):
        stranger.decrypt_integers(ciphertext)
