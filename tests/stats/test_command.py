import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest

from fedpriv.cli import main
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set

CSV = "sex,Age,weight\r\nm,30,70.5\r\nf,NA,60.25\r\nm,50,\r\nf,44,81\r\nm,61,77.75\r\n"


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
    assert found["columns"]["Age"]["mean"] == pytest.approx(np.mean([30, 50, 44, 61, 20, 33]), rel=1e-12)
    assert found["columns"]["weight"]["count"] == 5
    assert "holder 2 is missing" in refused(capsys, "decrypt", "r", "--key", public, "--partials", "1.p")


def test_noise_is_paid_for_before_anything_is_told_and_never_beyond_the_budget(keys, tmp_path, capsys):
    # so many rows that a noisy count is never near 0, where there is no mean
    (tmp_path / "t.csv").write_text("age,weight\n" + "".join(f"{n % 90},{n % 70 + 40}\n" for n in range(900)))
    main(["stats", "encrypt", "t.csv", "--bounds", "age=0:120", "weight=0:200", "--no-pairs"])
    compute("--no-pairs")
    price = ("--epsilon", "1", "--delta", "1e-6", "--budget", "1.6", "--ledger", "ledger")
    exact = opened(capsys, "t.result")["columns"]["weight"]["mean"]
    first = opened(capsys, "t.result", *price)
    assert first["privacy"]["spent"] <= 1
    second = opened(capsys, "t.result", *price)
    assert 1 < second["privacy"]["spent"] <= 1.6
    assert len({exact, first["columns"]["weight"]["mean"], second["columns"]["weight"]["mean"]}) == 3
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
            "--no-pairs",
            "--out",
            "again.table",
        ]
    )
    main(["stats", "compute", "again.table", "--no-pairs", "--workers", "1"])
    assert "would pass the budget" in refused(capsys, "decrypt", "again.result", *price)
    entries = [json.loads(line) for line in (tmp_path / "ledger" / "ledger.jsonl").read_text().splitlines()]
    assert sum('"kind": "concentrated_sample"' in json.dumps(entry) for entry in entries) == 2


def test_bounds_that_tell_of_the_values_are_not_released_by(keys, tmp_path, capsys):
    main(["stats", "encrypt", "t.csv", "--no-pairs", "--bounds", "age=0:120"])
    compute("--no-pairs")
    line = refused(capsys, "decrypt", "t.result", "--epsilon", "1", "--ledger", "ledger")
    assert "the bounds of column 'weight' were taken from its values" in line
    assert not (tmp_path / "ledger").exists()


def test_holders_add_their_noise_themselves(keys, capsys):
    main(["stats", "encrypt", "t.csv", "--no-pairs", "--bounds", "age=0:120", "weight=0:200"])
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
    found = opened(capsys, "t.result", *public)
    assert found["columns"]["Age"]["mean"] != 46.25
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
    assert found["scores"] == pytest.approx([-0.5, 0.0, 0.5, 0.2, 1.05], abs=1e-9)
    assert found["probabilities"][1] == pytest.approx(0.5)
    main(["stats", "decrypt", "s", "--rows", "2"])
    assert capsys.readouterr().out.splitlines()[0] == "row,score,probability"


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
        (("compute", "t.csv"), "t.csv"),
        (("decrypt", "t.csv"), "t.csv"),
        (("decrypt", "t.csv", "--budget", "1"), "need --epsilon"),
        (("encrypt", "t.csv", "--key", "t.csv"), "t.csv"),
        (("nothing",), "stats nothing: no such command"),
    ],
)
def test_a_mistake_is_one_line(keys, tmp_path, capsys, arguments, message):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,x\n")
    assert message in refused(capsys, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "keys-table", "t.csv"]


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
