"""``fedpriv privacy show``: every share, what it has spent, and on what."""

import json

import numpy as np
import pytest

from experiments.privacy import MOST_SHARES
from fedpriv.cli import main
from fedpriv.errors import UserError
from fedpriv.privacy.charge import Charge, Concentrated, ConcentratedSample, SampledGaussian
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import Ledger, default_folder
from fedpriv.privacy.rounded import at_most

ROUND = SampledGaussian(0.25, 1.0, 1)


def share(*digests):
    return of_digests(np.array(digests, np.uint64))


def show(capsys, *arguments):
    main(["privacy", "show", *map(str, arguments)])
    return capsys.readouterr().out


def test_an_empty_ledger_says_so_and_is_not_made(capsys):
    assert show(capsys) == f"{default_folder()}/ledger.jsonl: nothing has been charged yet\n"
    assert not default_folder().exists()
    assert json.loads(show(capsys, "--json"))["spent"] == []


def test_the_table_has_each_share_at_each_level_that_it_was_charged_at(capsys):
    ledger = Ledger(default_folder())
    ledger.charge(
        [
            Charge(share(1, 2, 3), ROUND, "first", 1, 1e-5, "eyes"),
            Charge(share(1, 2, 3), ROUND, "second", 1, 1e-5, "eyes"),
            Charge(share(4), Concentrated(0.1), "first", 1, 1e-5, "faces\x1b[31m"),
        ]
    )
    rows = [line.split("│")[1:-1] for line in show(capsys).splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    epsilon = ledger.spent(share(1), 1e-5).epsilon
    today = ledger.summary()[0].first[:10]
    assert cells[0] == ["eyes", "1", "3", "2", "an image", at_most(epsilon), today]
    assert cells[1][0].startswith("faces") or cells[1][0] == "faces\\x1b[31m"
    assert cells[1][3:5] == ["1", "a client"]
    assert "\x1b" not in "".join(map("".join, cells))


def test_what_statistics_of_a_table_were_charged_protects_a_row(capsys):
    ledger = Ledger(default_folder())
    table = "a (table)"
    ledger.charge([Charge(share(7), ConcentratedSample(0.01), f"{n}", 0, 1e-6, table) for n in range(2)])
    ledger.charge([Charge(share(1, 2), ROUND, "training", 1, 1e-5, "eyes")])
    told = show(capsys, "--runs")
    rows = [line.split("│")[1:-1] for line in told.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [row[4] for row in cells[:2]] == ["a row", "an image"]
    assert [row[1] for row in cells[2:] if row[1]] == ["a row", "a row", "an image"]
    spent = json.loads(show(capsys, "--json"))["spent"]
    assert [(row["unit"], row["protects"]) for row in spent] == [("sample", "a row"), ("sample", "an image")]


def test_json_is_one_object_with_the_runs_and_the_delta_asked_for(capsys, tmp_path):
    ledger = Ledger(tmp_path / "own")
    ledger.charge([Charge(share(1, 2), ROUND, name, 1, 1e-5, "eyes") for name in ("a", "b")])
    ledger.charge([Charge(share(2, 3), Concentrated(float("inf")), "c", 1, 1e-5, "more")])
    found = json.loads(show(capsys, tmp_path / "own", "--delta", "1e-3", "--json"))
    one, two = found["spent"]
    assert (one["data"], one["examples"], one["runs"], one["unit"]) == ("eyes", 2, ["a", "b", "c"], "sample")
    assert one["epsilon"] is None  # the shared example's client was released without noise
    assert (two["unit"], two["epsilon"], two["delta"]) == ("client", None, 1e-3)
    assert found["ledger"] == str(tmp_path / "own" / "ledger.jsonl")
    at = Ledger(tmp_path / "other")
    at.charge([Charge(share(1), ROUND, "a", 1, 1e-5, "eyes")])
    (row,) = json.loads(show(capsys, tmp_path / "other", "--delta", "1e-3", "--json"))["spent"]
    assert row["epsilon"] == at.spent(share(1), 1e-3).epsilon < at.spent(share(1), 1e-5).epsilon


def test_all_runs_that_an_epsilon_is_made_of_are_named_also_those_on_shares_that_overlap(capsys):
    ledger = Ledger(default_folder())
    ledger.charge([Charge(share(1, 2), ROUND, f"one {n}", 1, 1e-5, "eyes") for n in range(3)])
    ledger.charge([Charge(share(2, 3, 4), ROUND, f"two {n}", 1, 1e-5, "eyes") for n in range(4)])
    ledger.charge([Charge(share(4, 1), ROUND, f"three {n}", 1, 1e-5, "faces") for n in range(2)])
    ledger.charge([Charge(share(9), ROUND, "elsewhere", 1, 1e-5, "more")])
    first, second, third, _ = json.loads(show(capsys, "--json"))["spent"]
    assert [len(row["runs"]) for row in (first, second, third)] == [9, 9, 9]
    for row, mine in ((first, share(1, 2)), (second, share(2, 3, 4)), (third, share(4, 1))):
        assert set(row["runs"]) == ledger.runs_on([mine])
    cells = [line.split("│")[4].strip() for line in show(capsys).splitlines() if line.startswith("│")]
    assert cells == ["9", "9", "9", "1"]


def test_each_run_is_listed_with_its_mechanism_rounds_and_times_by_the_name_of_the_data(capsys):
    ledger = Ledger(default_folder())
    ledger.charge(
        [
            *(Charge(share(1, 2), SampledGaussian(1.5, 0.25, 8), "a", n, 1e-5, "eyes") for n in (1, 2, 3)),
            Charge(share(3), SampledGaussian(1.5, 0.5, 4), "a", 1, 1e-5, "eyes", party=1),
            *(Charge(share(5), Concentrated(0.125), "b", n, 1e-5, "faces", by_server=True) for n in (1, 2)),
            Charge(share(5), Concentrated(float("inf")), "c", 1, 1e-5, "faces"),
        ]
    )
    a, b, c = json.loads(show(capsys, "--json"))["runs"]
    assert (a["data"], a["run"], a["unit"], a["rounds"], a["rho"]) == ("eyes", "a", "sample", 3, [])
    assert a["steps"] == [
        {"noise_multiplier": 1.5, "sample_rate": 0.25, "steps": 24},
        {"noise_multiplier": 1.5, "sample_rate": 0.5, "steps": 4},
    ]
    assert (b["data"], b["unit"], b["rounds"], b["rho"], b["steps"]) == ("faces", "client", 2, [0.25], [])
    assert (b["by_server"], b["seeded"], c["by_server"], c["rho"]) == (True, False, False, [None])
    assert a["first"] <= a["last"]
    assert a["first"] == ledger.summary()[0].first
    assert "Runs on" not in show(capsys)
    assert "Runs on faces" in show(capsys, "--runs")
    said = " ".join(show(capsys, "--runs").partition("Runs on eyes")[2].replace("│", " ").split())
    for text in (
        "rate",
        "0.25 to",
        "steps",
        "rho 0.25",
        "rho inf",
        "a client",
        "not against",
        a["first"][:10],
    ):
        assert text in said


def test_runs_whose_noise_protects_nobody_or_not_from_the_server_are_counted_beside_the_epsilon(capsys):
    ledger = Ledger(default_folder())
    for run, seeded in (("a", True), ("b", True), ("c", False)):
        for mine in (share(1, 2), share(2, 3)):
            ledger.charge([Charge(mine, ROUND, run, n, 1e-5, "eyes", seeded=seeded) for n in (1, 2)])
    ledger.charge([Charge(share(7), Concentrated(0.1), "d", 1, 1e-5, "faces", by_server=True)])
    ledger.charge([Charge(share(8), Concentrated(0.1), "e", 1, 1e-5, "plain")])
    found = json.loads(show(capsys, "--json"))["spent"]
    assert [(row["seeded_runs"], row["server_runs"]) for row in found] == [(2, 0), (2, 0), (0, 1), (0, 0)]
    said = show(capsys).splitlines()
    assert said.count("eyes, an image: 2 of 3 runs had seeded noise, which protects nobody") == 1
    assert "faces, a client: noise of 1 of 1 drawn by the server: not against the server" in said
    assert not any(line.startswith("plain") for line in said)


def test_an_epsilon_is_rounded_up(capsys):
    ledger = Ledger(default_folder())
    ledger.charge([Charge(share(1), Concentrated(0.1), "a", 1, 1e-5, "eyes")])
    (cell,) = [line.split("│")[6].strip() for line in show(capsys).splitlines() if line.startswith("│")]
    assert float(cell) >= ledger.spent(share(1), 1e-5, "client").epsilon > float(cell) - 0.01


def test_many_shares_are_put_together_by_the_name_of_their_data(capsys):
    ledger = Ledger(default_folder())
    ledger.charge(
        [Charge(share(n, n + 1), ROUND, "a", 1, 1e-5, "eyes") for n in range(MOST_SHARES)]
        + [Charge(share(500), SampledGaussian(0.5, 1.0, 1), "b", 1, 1e-5, "faces")]
    )
    eyes, faces = json.loads(show(capsys, "--json"))["spent"]
    assert (eyes["data"], eyes["shares"], eyes["examples"]) == ("eyes", MOST_SHARES, MOST_SHARES + 1)
    assert eyes["epsilon"] == ledger.spent(share(5), 1e-5).epsilon  # an image of two shares, the greatest
    assert (faces["data"], faces["shares"], faces["runs"]) == ("faces", 1, ["b"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--delta", "0"], "--delta 0.0: must lie between 0 and 1"),
        (["--delta", "nan"], "--delta nan: must lie between 0 and 1"),
        (["/nowhere/at/all"], "/nowhere/at/all: no such folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, said):
    from experiments.privacy import main as privacy

    with pytest.raises(UserError) as caught:
        privacy(["show", *arguments])
    assert str(caught.value).startswith(said)


def test_a_damaged_ledger_is_one_line_and_exit_status_2(capsys):
    ledger = Ledger(default_folder())
    ledger.charge([Charge(share(1), ROUND, "a", 1, 1e-5, "eyes")])
    ledger.path.write_text("{}\n" + ledger.path.read_text())
    with pytest.raises(SystemExit) as caught:
        main(["privacy", "show"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fedpriv: {ledger.path}: line 1: damaged; ")
    assert said.count("\n") == 1
