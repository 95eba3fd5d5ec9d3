import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.he.tables.csv_table import MOST_COLUMNS, read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.plan import TablePlan, require_room
from fedpriv.he.tables.schema import Column, Schema, require_small
from fedpriv.he.tables.vectors import vectors_of
from fedpriv.he.users.sets import parameter_set
from tests.he.tables.tables import POOL, random_csv

TABLE = parameter_set("table")


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,a,b\nx,1,2.50\ny,,-3\nz,4,0.125\n")
    return read_table(path)


def test_a_draft_takes_columns_of_numbers_with_the_decimals_that_they_have(csv):
    schema = draft(csv, Wishes())
    assert [(each.name, each.decimals) for each in schema.columns] == [("a", 0), ("b", 3)]
    assert all(each.low <= value for each, value in zip(schema.columns, (1, -3000), strict=True))
    assert all(each.high >= value for each, value in zip(schema.columns, (4, 2500), strict=True))


@pytest.mark.parametrize(
    ("cells", "least", "most"),
    [
        (["32", "45", "70"], -128, 128),
        (["39"], -64, 64),  # a table of one row
        (["64", "64", "64"], -64, 64),
        (["", "NA"], -1, 1),
        (["0", "1", "1"], -1, 1),
        (["0.31", "-0.07"], -100, 100),  # in units of 0.01
        (["16"], -16, 16),
        (["16.1"], -320, 320),
        (["-2500"], -4096, 4096),
    ],
)
def test_drafted_bounds_tell_the_power_of_two_above_the_largest_value_and_nothing_else(
    tmp_path, cells, least, most
):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    column = draft(read_table(tmp_path / "t.csv"), Wishes()).columns[0]
    assert (column.low, column.high) == (least, most)


def test_a_schema_of_as_many_columns_as_are_read_fits_a_header():
    require_small(Schema(tuple(Column(f"c{number}", 1, -(10**3), 10**3) for number in range(MOST_COLUMNS))))


def test_any_table_of_the_same_magnitudes_decimals_and_groups_has_the_same_draft(tmp_path):
    for name, rows in (("a", "39,26.97,f\n61,21.5,m\n"), ("b", "64,17.01,m\n,,m\n11,31.99,f\n")):
        (tmp_path / name).write_text("age,bmi,sex\n" + rows)
    first, second = (draft(read_table(tmp_path / name), Wishes(group="sex")) for name in "ab")
    assert first == second


def test_only_bounds_decimals_and_groups_that_people_named_are_marked_so(csv):
    one = {"a": ("0", "9")}
    for wishes, marks in (
        (Wishes(), (False, False)),
        (Wishes(bounds=one), (True, False)),
        (Wishes(decimals={"A": 0}), (False, True)),
    ):
        a, b = draft(csv, wishes).columns
        assert (a.given, a.fixed) == marks
        assert (b.given, b.fixed) == (False, False)
    assert not draft(csv, Wishes(group="name")).named
    schema = draft(csv, Wishes(group="name", levels=("z", "y", "x", "w")))
    assert schema.named
    assert schema.levels == ("z", "y", "x", "w")
    assert vectors_of(csv, schema, True).parts.tolist() == [2, 1, 0]


def test_groups_are_one_with_and_without_a_zero_after_the_point_in_every_table_of_a_pool(tmp_path):
    (tmp_path / "a.csv").write_text("g,x\n1,1\n1.0,2\n2,3\n")
    (tmp_path / "b.csv").write_text("g,x\n2.00,1\n1.,1\n")
    table = read_table(tmp_path / "a.csv")
    schema = draft(table, Wishes(["x"], group="g"))
    assert schema.levels == ("1", "2")
    assert vectors_of(table, schema, False).parts.tolist() == [0, 0, 1]
    assert vectors_of(read_table(tmp_path / "b.csv"), schema, False).parts.tolist() == [1, 0]


def test_fewer_decimals_round_half_to_even_and_only_on_a_wish(csv):
    schema = draft(csv, Wishes(decimals={"B": 2}))
    assert vectors_of(csv, schema, True).values[1].tolist() == [
        value - schema.columns[1].offset for value in (250, -300, 12)
    ]
    with pytest.raises(FormatError, match=r"line 4: column 'b': 0.125: more than 2 decimals"):
        vectors_of(csv, schema, False)


def test_a_cell_beyond_the_bounds_is_named(csv):
    schema = draft(csv, Wishes(bounds={"b": ("-1", "5")}))
    with pytest.raises(FormatError, match=r"line 3: column 'b': -3 lies outside the bounds -1.000 to 5.000"):
        vectors_of(csv, schema, False)


def test_a_missing_cell_is_zero_with_mask_zero(csv):
    vectors = vectors_of(csv, draft(csv, Wishes()), False)
    assert vectors.masks[0].tolist() == [1, 0, 1]
    assert vectors.values[0][1] == 0


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(columns=["c"]), "has no column 'c'"),
        (Wishes(columns=["name"]), "line 2: column 'name': 'x' is no number"),
        (Wishes(bounds={"name": ("0", "1")}), "column 'name' is not among those taken"),
        (Wishes(bounds={"a": ("4", "1")}), "--bounds a=4:1: the lower one comes first"),
        (Wishes(bounds={"a": ("0.5", "1")}), "more than the 0 decimals"),
        (Wishes(bins={"a": ("1",)}), "--bins a: at least two edges"),
        (Wishes(group="c"), "has no column 'c'"),
        (Wishes(levels=("x",)), "--levels: are those of --group"),
        (Wishes(group="name", levels=("1", "1.0")), "--levels 1 1: one is empty, or there twice"),
        (Wishes(group="name", levels=("",)), "--levels : one is empty"),
    ],
)
def test_a_wish_that_cannot_be_is_named(csv, wishes, message):
    with pytest.raises(UserError, match=message):
        draft(csv, wishes)


def test_a_schema_comes_back_from_its_file(tmp_path):
    schema = draft(read_table(random_csv(tmp_path / "r.csv", 20, 1)), POOL)
    schema.save(tmp_path / "s.json")
    assert Schema.load(tmp_path / "s.json") == schema
    with pytest.raises(UserError, match="exists already"):
        schema.save(tmp_path / "s.json")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_schema_from_outside_is_read_or_refused(data):
    good = Schema((Column("a", 1, -5, 5, (-5, 0, 5)),), "g", ("x",)).to_json()
    content = json.loads(json.dumps(good))
    anything = st.one_of(
        st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
    )
    place = data.draw(
        st.sampled_from(
            [
                "version",
                "columns",
                "group",
                "levels",
                "named",
                "pairs",
                "name",
                "low",
                "edges",
                "given",
                "fixed",
                "more",
            ]
        )
    )
    (content["columns"][0] if place in ("name", "low", "edges", "given", "fixed") else content)[place] = (
        data.draw(anything)
    )
    try:
        schema = Schema.from_json("s", content)
    except FormatError:
        return
    assert all(each.low <= each.high for each in schema.columns)
    assert TablePlan(schema).factors


def test_values_too_large_for_any_sum_are_refused_by_name(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,1e25\n2,3\n")
    with pytest.raises(UserError, match="column 'b': its values do not fit with 0 decimals"):
        draft(read_table(tmp_path / "t.csv"), Wishes())


def test_a_column_of_numbers_with_decimal_commas_is_not_left_out_in_silence(tmp_path):
    (tmp_path / "t.csv").write_text("a;b;c\n1;2,5;x\n2;3,5;y\n")
    table = read_table(tmp_path / "t.csv")
    with pytest.raises(FormatError, match="column 'b': '2,5' has a comma"):
        draft(table, Wishes())
    assert len(draft(table, Wishes(["a"])).columns) == 1
    assert draft(table, Wishes(group="b")).levels == ("2,5", "3,5")


def test_sums_that_might_not_fit_are_refused_by_name():
    wide = Schema((Column("small", 0, 0, 1), Column("income", 6, 0, 10**12)))
    with pytest.raises(UserError, match=r"column 'income': .*--decimals income=4"):
        require_room(wide, TABLE, 1)
    with pytest.raises(UserError, match=r"fit; give closer bounds \(--bounds n=LOW:HIGH\)"):
        require_room(Schema((Column("n", 0, 0, 10**12),)), TABLE, 1)
    most = (TABLE.seal.plain_modulus - 1) // 2
    reach = int((most / 1024) ** 0.5)
    require_room(Schema((Column("x", 0, -reach, reach),)), TABLE, 1)
    with pytest.raises(UserError, match="column 'x'"):
        require_room(Schema((Column("x", 0, -reach - 1, reach + 1),)), TABLE, 1)
    with pytest.raises(UserError, match="column 'x'"):
        require_room(Schema((Column("x", 0, -reach, reach),)), TABLE, 2)
