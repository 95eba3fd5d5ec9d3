import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import pytest

from fedpriv.cli import main
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set

CSV = "sex,Age,weight\r\nm,30,70.5\r\nf,NA,60.25\r\nm,50,\r\nf,44,81\r\nm,61,77.75\r\n"

GIVEN = ("--bounds", "age=0:120", "weight=0:200", "--decimals", "age=0", "weight=2")


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saved_keys(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    UserKeys.make(parameter_set("table")).save(folder)
    return folder


@pytest.fixture(scope="module")
def made_keys(tmp_path_factory):
    return saved_keys(tmp_path_factory.mktemp("made") / "keys")


@pytest.fixture
def keys(tmp_path, made_keys):
    """A folder with the default key and a table in it."""
    shutil.copytree(made_keys, tmp_path / "keys-table")
    (tmp_path / "t.csv").write_text(CSV)
    return tmp_path / "keys-table"


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["stats", *arguments])
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("fedpriv: ")
    assert line.count("\n") == 1
    return line


def compute(*more):
    main(["stats", "compute", "t.table", "--workers", "1", *more])


def opened(capsys, *arguments):
    capsys.readouterr()
    main(["stats", "decrypt", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_default_flow_gives_what_pandas_gives(keys, capsys):
    main(["stats", "encrypt", "t.csv", "--group", "SEX", "--bins", "age=0,40,100"])
    said = capsys.readouterr().out
    assert "2 cells without a value" in said
    compute()
    found = opened(capsys, "t.result", "--weights", "AGE")
    frame = pandas.read_csv("t.csv")
    for name in ("Age", "weight"):
        assert found["columns"][name]["count"] == frame[name].count()
        assert found["columns"][name]["mean"] == pytest.approx(frame[name].mean(), rel=1e-12)
        assert found["columns"][name]["standard_deviation"] == pytest.approx(frame[name].std(), rel=1e-12)
        men = found["groups"]["parts"]["m"]["columns"][name]
        assert men["mean"] == pytest.approx(frame[frame.sex == "m"][name].mean(), rel=1e-12)
    both = frame.dropna()
    expected = np.average(both.weight, weights=both.Age)
    assert found["columns"]["weight"]["weighted_mean"] == pytest.approx(expected, rel=1e-12)
    assert found["correlation"]["Age"]["weight"] == pytest.approx(
        frame[["Age", "weight"]].corr().iloc[0, 1], rel=1e-9
    )
    assert found["histograms"]["Age"] == {"edges": [0, 40, 100], "counts": [1, 3]}
    main(["stats", "decrypt", "t.result"])
    told = capsys.readouterr().out
    assert "sex = f" in told
    assert "not differentially private" in told
    assert found["note"] in told


def test_what_a_table_shows_of_cells_is_said_and_given_marks_it_so(keys, tmp_path, capsys):
    (tmp_path / "one.csv").write_text("sex,age,bmi\nf,39,26.97\n")
    main(["stats", "encrypt", "one.csv", "--group", "sex"])
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == (
        "Of the cells it tells what was not given: bounds (a power of two that no value passes), decimals, "
        "groups."
    )
    header = re.search(rb'\{"kind":.*?"table":"[0-9a-f]{64}"\}', (tmp_path / "one.table").read_bytes())
    assert [
        (each["name"], each["low"], each["high"]) for each in json.loads(header[0])["schema"]["columns"]
    ] == [("age", -64, 64), ("bmi", -3200, 3200)]
    given = ("--bounds", "age=0:120", "bmi=10:60", "--decimals", "age=0", "bmi=2", "--levels", "f", "m")
    main(["stats", "encrypt", "one.csv", "--group", "sex", *given, "--out", "two.table"])
    told = capsys.readouterr().out
    assert "no cell,\nand not whether there is one." in told
    assert "Of the cells" not in told
    main(["stats", "schema", "one.csv"])
    assert "bounds (a power of two that no value passes), decimals." in capsys.readouterr().out


def test_owners_pool_under_a_split_key_that_none_opens_alone(keys, tmp_path, capsys):
    (tmp_path / "u.csv").write_text("WEIGHT,age\n55.5,20\n,33\n")
    main(
        [
            "stats",
            "schema",
            "t.csv",
            "--columns",
            "age",
            "weight",
            "--bounds",
            "age=0:120",
            "weight=30:150",
            "--out",
            "p.json",
        ]
    )
    main(["keys", "split", "keys-table/secret.key", "--holders", "2", "--out", "shares"])
    public = "shares/holder-1/public.key"
    for name in ("t", "u"):
        main(["stats", "encrypt", f"{name}.csv", "--key", public, "--schema", "p.json"])
    main(["stats", "compute", "t.table", "u.table", "--key", public, "--out", "r"])
    for number in (1, 2):
        main(
            ["stats", "decrypt", "r", "--share", f"shares/holder-{number}/share.key", "--out", f"{number}.p"]
        )
    found = opened(capsys, "r", "--key", public, "--partials", "1.p", "2.p")
    assert found["tables"] == 2
    assert "exact, unless they added noise" in found["note"]
    assert found["columns"]["Age"]["mean"] == pytest.approx(np.mean([30, 50, 44, 61, 20, 33]), rel=1e-12)
    assert found["columns"]["weight"]["count"] == 5
    assert "holder 2 is missing" in refused(capsys, "decrypt", "r", "--key", public, "--partials", "1.p")


def told_of(found, name):
    """Mean and deviation: noise leaves one as it was in one release of 1,000, both in one of 10 million."""
    return found["columns"][name]["mean"], found["columns"][name]["standard_deviation"]


def test_noise_is_paid_for_before_anything_is_told_and_never_beyond_the_budget(keys, tmp_path, capsys):
    # so many rows that a noisy count is never near 0, where there is no mean
    (tmp_path / "t.csv").write_text("age,weight\n" + "".join(f"{n % 90},{n % 70 + 40}\n" for n in range(900)))
    given = ("--decimals", "age=0", "weight=0", "--no-pairs")
    main(["stats", "encrypt", "t.csv", "--bounds", "age=0:120", "weight=0:200", *given])
    compute("--no-pairs")
    price = ("--epsilon", "1", "--delta", "1e-6", "--budget", "1.6", "--ledger", "ledger")
    exact = opened(capsys, "t.result")
    first = opened(capsys, "t.result", *price)
    assert first["privacy"]["spent"] <= 1
    second = opened(capsys, "t.result", *price)
    assert 1 < second["privacy"]["spent"] <= 1.6
    assert len({told_of(each, "weight") for each in (exact, first, second)}) == 3
    assert "would pass the budget; nothing was released" in refused(capsys, "decrypt", "t.result", *price)
    # the same rows, encrypted anew by another schema: another file, the same table
    main(
        [
            "stats",
            "encrypt",
            "t.csv",
            "--bounds",
            "age=0:150",
            "weight=0:200",
            *given,
            "--out",
            "again.table",
        ]
    )
    main(["stats", "compute", "again.table", "--no-pairs", "--workers", "1"])
    assert "would pass the budget" in refused(capsys, "decrypt", "again.result", *price)
    entries = [json.loads(line) for line in (tmp_path / "ledger" / "ledger.jsonl").read_text().splitlines()]
    assert sum('"kind": "concentrated_sample"' in json.dumps(entry) for entry in entries) == 2


def test_nothing_is_released_with_noise_that_tells_of_cells_without(keys, tmp_path, capsys):
    main(["stats", "encrypt", "t.csv", "--no-pairs", "--group", "sex", *GIVEN])
    compute("--no-pairs")
    main(["keys", "split", "keys-table/secret.key", "--holders", "2", "--out", "s"])
    for ways in ((), ("--share", "s/holder-1/share.key")):
        line = refused(capsys, "decrypt", "t.result", *ways, "--epsilon", "1", "--ledger", "ledger")
        assert "taken from the cells, and tell of single ones; encrypt with --levels VALUE ..." in line
    assert not (tmp_path / "ledger").exists()


def test_groups_that_people_named_are_released_whether_anybody_is_in_them_or_not(keys, capsys):
    levels = ("--group", "sex", "--levels", "f", "m", "x")
    main(["stats", "encrypt", "t.csv", "--no-pairs", *GIVEN, *levels])
    compute("--no-pairs")
    found = opened(capsys, "t.result", "--epsilon", "1", "--ledger", "ledger")
    assert list(found["groups"]["parts"]) == ["f", "m", "x"]


@pytest.mark.parametrize("way", ["too wide", "no folder", "damaged"])
def test_what_fails_is_not_paid_for(keys, tmp_path, capsys, way):
    bounds = ("--bounds", "age=0:10000000", "weight=0:200") if way == "too wide" else GIVEN[:3]
    main(["stats", "encrypt", "t.csv", "--no-pairs", *bounds, *GIVEN[3:]])
    compute("--no-pairs")
    price = ("--epsilon", "1e-5" if way == "too wide" else "1", "--ledger", "ledger")
    if way == "too wide":
        assert "the noise is too wide" in refused(capsys, "decrypt", "t.result", *price)
    else:
        main(["keys", "split", "keys-table/secret.key", "--holders", "2", "--out", "s"])
        if way == "damaged":
            data = bytearray((tmp_path / "t.result").read_bytes())
            data[-40] ^= 1
            (tmp_path / "t.result").write_bytes(data)
        share = ("--share", "s/holder-1/share.key", "--out", "none/1.p" if way == "no folder" else "1.p")
        expected = "its folder is not there" if way == "no folder" else "damaged"
        assert expected in refused(capsys, "decrypt", "t.result", *share, *price)
    assert not (tmp_path / "ledger").exists()


def test_holders_add_their_noise_themselves(keys, capsys):
    main(["stats", "encrypt", "t.csv", "--no-pairs", *GIVEN])
    compute("--no-pairs")
    main(["keys", "split", "keys-table/secret.key", "--holders", "2", "--out", "s"])
    for number in (1, 2):
        share = f"s/holder-{number}/share.key"
        main(
            [
                "stats",
                "decrypt",
                "t.result",
                "--share",
                share,
                "--epsilon",
                "3",
                "--ledger",
                f"l{number}",
                "--out",
                f"{number}.p",
            ]
        )
    assert "whatever the others add" in capsys.readouterr().out
    public = ("--key", "s/holder-1/public.key", "--partials", "1.p", "2.p")
    exact, found = opened(capsys, "t.result"), opened(capsys, "t.result", *public)
    assert exact["columns"]["Age"]["mean"] == 46.25
    assert told_of(found, "Age") != told_of(exact, "Age")
    assert "each holder adds its noise" in refused(capsys, "decrypt", "t.result", *public, "--epsilon", "1")


def test_scores_of_a_model_come_row_by_row(keys, tmp_path, capsys):
    main(["stats", "encrypt", "t.csv"])
    (tmp_path / "m.json").write_text(
        json.dumps(
            {"kind": "logistic", "intercept": -2, "coefficients": {"age": 0.05}, "impute": {"age": 40}}
        )
    )
    compute("--model", "m.json", "--out", "s")
    found = opened(capsys, "s", "--rows", "5")
    (only,) = found["tables"]
    assert only["scores"] == pytest.approx([-0.5, 0.0, 0.5, 0.2, 1.05], abs=1e-9)
    assert only["probabilities"][1] == pytest.approx(0.5)
    main(["stats", "decrypt", "s", "--rows", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "table,row,score,probability"
    assert lines[2].startswith("1,2,")
    for rows in ("0", "1025"):
        assert f"--rows {rows}: choose 1 to 1024" in refused(capsys, "decrypt", "s", "--rows", rows)


def test_scores_of_a_pool_are_numbered_by_table_and_row_and_never_padding(keys, tmp_path, capsys):
    (tmp_path / "u.csv").write_text("age\n7\n8\n")
    main(["stats", "schema", "u.csv", "--bounds", "age=0:120", "--out", "p.json"])
    for name in ("t", "u"):
        main(["stats", "encrypt", f"{name}.csv", "--schema", "p.json"])
    (tmp_path / "m.json").write_text('{"coefficients": {"age": 1}, "impute": {"age": 40}}')
    main(["stats", "compute", "t.table", "u.table", "--model", "m.json", "--out", "s"])
    found = opened(capsys, "s", "--rows", "5", "2")
    assert [each["scores"] for each in found["tables"]] == [
        pytest.approx([30, 40, 50, 44, 61]),
        pytest.approx([7, 8]),
    ]
    main(["stats", "decrypt", "s", "--rows", "5", "1"])
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [["1", str(row)] for row in range(1, 6)] + [["2", "1"]]
    assert float(lines[-1][2]) == pytest.approx(7)
    assert "--rows: 1 for 2 tables; give a number for each" in refused(capsys, "decrypt", "s", "--rows", "7")


def test_holders_open_scores_together_and_add_no_noise_to_them(keys, tmp_path, capsys):
    main(["stats", "encrypt", "t.csv"])
    (tmp_path / "m.json").write_text('{"coefficients": {"age": 1}, "impute": {"age": 40}}')
    compute("--model", "m.json", "--out", "s")
    main(["keys", "split", "keys-table/secret.key", "--holders", "2", "--out", "h"])
    for number in (1, 2):
        share = ("--share", f"h/holder-{number}/share.key", "--out", f"{number}.p")
        assert "scores of single rows" in refused(capsys, "decrypt", "s", *share, "--epsilon", "1")
        main(["stats", "decrypt", "s", *share])
    public = ("--key", "h/holder-1/public.key", "--partials", "1.p", "2.p")
    found = opened(capsys, "s", *public, "--rows", "5")
    assert found["tables"][0]["scores"] == pytest.approx([30, 40, 50, 44, 61])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encrypt", "none.csv"), "none.csv"),
        (("encrypt", "bad.csv"), "bad.csv: line 3: column 'b': 'x' is no number"),
        (("encrypt", "t.csv", "--decimals", "age"), "--decimals age: write NAME="),
        (("encrypt", "t.csv", "--bounds", "age=3"), "write LOW:HIGH"),
        (("encrypt", "t.csv", "--bounds", "age=40:50"), "line 2: column 'Age': 30 lies outside the bounds"),
        (
            ("encrypt", "t.csv", "--decimals", "weight=9", "--bounds", "weight=0:1000000"),
            "--decimals weight=7",
        ),
        (("compute", "t.csv"), "t.csv: offset 0: no ciphertexts of fedpriv; name another file"),
        (("compute", "one.csv"), "one.csv: offset 0: no ciphertexts of fedpriv; name another file"),
        (("compute", "t.csv", "--out", "none/r"), "none/r: its folder is not there"),
        (("decrypt", "t.csv"), "t.csv: offset 0: no ciphertexts of fedpriv; name another file"),
        (("decrypt", "t.csv", "--key", "keys-table/public.key"), "is a public key, which opens nothing"),
        (("encrypt", "comma.csv"), "comma.csv: line 2: column 'b': '1,5' has a comma"),
        (("encrypt", "t.csv", "--levels", "m"), "--levels: are those of --group; name its column"),
        (("encrypt", "t.csv", "--group", "sex", "--levels", "m"), "line 3: column 'sex': 'f' is no group"),
        (("decrypt", "t.csv", "--budget", "1"), "need --epsilon"),
        (("encrypt", "t.csv", "--key", "t.csv"), "t.csv"),
        (("nothing",), "stats nothing: no such command"),
    ],
)
def test_a_mistake_is_one_line(keys, tmp_path, capsys, arguments, message):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,x\n")
    (tmp_path / "comma.csv").write_text("a;b\n1;1,5\n")
    (tmp_path / "one.csv").write_text("a\n1\n")
    there = sorted(path.name for path in tmp_path.iterdir())
    assert message in refused(capsys, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_table_is_no_result(keys, tmp_path, capsys):
    main(["stats", "encrypt", "t.csv"])
    assert "is a table, not a result; have it computed" in refused(capsys, "decrypt", "t.table")
    main(["keys", "split", "keys-table/secret.key", "--holders", "2", "--out", "h"])
    share = ("--share", "h/holder-1/share.key")
    assert "is a table, not a result; have it computed" in refused(capsys, "decrypt", "t.table", *share)


def test_columns_that_are_left_out_are_said(keys, tmp_path, capsys):
    (tmp_path / "i.csv").write_text(",name,age\n0,x,30\n1,y,40\n")
    main(["stats", "encrypt", "i.csv"])
    told = capsys.readouterr().out
    assert "left out the first, which has no name, name" in told
    assert "columns  1: age" in told


def test_a_result_opens_with_its_own_key_only(keys, tmp_path, capsys):
    main(["stats", "encrypt", "t.csv", "--no-pairs"])
    compute("--no-pairs")
    saved_keys(tmp_path / "other")
    line = refused(capsys, "decrypt", "t.result", "--key", "other")
    assert "t.result" in line
    assert "key" in line


def test_help_tells_of_every_command(capsys):
    main(["stats", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in ("schema", "encrypt", "compute", "decrypt", "serve"))


def at_work(process):
    """How many children of a process have more than one thread, as workers have that were told their work."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return sum(len(list(Path(f"/proc/{each}/task").glob("*"))) > 1 for each in children)


def test_a_computation_that_is_ended_leaves_nothing_half_written(keys, tmp_path):
    names = [f"c{number}" for number in range(40)]
    (tmp_path / "wide.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    main(["stats", "encrypt", "wide.csv"])
    before = sorted(tmp_path.iterdir())
    code = "import sys; from fedpriv.cli import main; main(sys.argv[1:])"
    arguments = ("stats", "compute", "wide.table", "--workers", "2")
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=tmp_path) as process:
        until = time.monotonic() + 60
        # not before: a signal while the file or a worker is being made may leave it, or hang
        while at_work(process.pid) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(list(tmp_path.iterdir())) == len(before) + 1
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert sorted(tmp_path.iterdir()) == before
