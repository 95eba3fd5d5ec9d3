"""``fedpriv compare`` on a store: the table is the one that is computed by hand from the database."""

import contextlib
import csv
import json
import math
import random
import re
import shlex
import shutil
import sqlite3
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from scipy import stats

from experiments.compare import main
from fedpriv.cli import COMMANDS
from fedpriv.console.wording import wall_seconds
from fedpriv.errors import UserError
from fedpriv.runner import run
from fedpriv.tracking.store import locate, open_experiment

ROOT = Path(__file__).parents[2]
EPSILONS, SCHEMES, SEEDS = ("3.0", "inf"), ("plain", "bfv"), (0, 1, 2)
JUDGED = {
    "metric": "angular_error_deg",
    "metric_label": "angular error (deg)",
    "metric_lower_is_better": "true",
}


def child(client, experiment, tags, params, value, status="FINISHED", rounds=2):
    """Log a run of two rounds as fedpriv does; ``value`` is its last."""
    run = client.create_run(experiment, run_name=f"run-{'-'.join(params.values())}")
    metrics = []
    for number in range(rounds + 1):
        named = {"angular_error_deg": value + rounds - number, "clients_failed": 0.0}
        if number:
            named |= {"bytes_up": 1000.0 * number, "clients_replied": 4.0, "seconds_train": value + number}
            named |= {"seconds_encrypt": 0.25, "seconds_aggregate": 0.5}
        metrics += [Metric(name, each, 1000 + number, number) for name, each in named.items()]
    client.log_batch(
        run.info.run_id,
        metrics=metrics,
        params=[Param(name, text) for name, text in params.items()],
        tags=[RunTag(name, text) for name, text in {**JUDGED, **tags}.items()],
    )
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return run.info.run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return (URI, sweep): 2 x 2 x 3 jobs of one sweep, an older sweep, and a run of no sweep."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('compare')}/mlflow.db"
    client, experiment = open_experiment(locate(uri), "fedpriv")
    older = client.create_run(experiment, run_name="older", tags={"fedpriv_kind": "sweep", "sweep_jobs": "3"})
    for number, (status, seed) in enumerate((("FINISHED", 0), ("FAILED", 1))):
        tags = {f"sweep.{older.info.run_id}": str(number), "failure": "OSError: disk" if number else ""}
        child(client, experiment, tags, {"seed": str(seed), "mode": "local"}, 9.0, status)
    client.set_terminated(older.info.run_id, "FAILED")
    parent = client.create_run(
        experiment, run_name="gaze-sweep", tags={"fedpriv_kind": "sweep", "sweep_jobs": "12"}
    )
    sweep = parent.info.run_id
    draw = random.Random(7)
    jobs = [(scheme, epsilon, seed) for scheme in SCHEMES for epsilon in EPSILONS for seed in SEEDS]
    for number, (scheme, epsilon, seed) in enumerate(jobs):
        params = {
            "privacy.epsilon": epsilon,
            "secure.scheme": scheme,
            "seed": str(seed),
            "run_id": str(number),
        }
        tags = {f"sweep.{sweep}": str(number), "mlflow.parentRunId": sweep}
        tags["overrides"] = f"secure={scheme} privacy.epsilon={epsilon} seed={seed}"
        if epsilon == "3.0":
            tags |= {"epsilon": "2.9", "privacy_unit": "sample", "epsilon_is": "of the whole run"}
        child(client, experiment, tags, params, 5.0 + draw.random() + (epsilon == "3.0"))
    client.set_terminated(sweep)
    return uri, sweep


def by_hand(uri):
    """Return final values by (scheme, epsilon) and seed, read from the tables of the database."""
    values = {}
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as base:
        for (run,) in base.execute("select run_uuid from tags where key = 'overrides'"):
            params = dict(base.execute("select key, value from params where run_uuid = ?", (run,)))
            (value,) = base.execute(
                "select value from metrics where run_uuid = ? and key = ? order by step desc",
                (run, "angular_error_deg"),
            ).fetchone()
            values.setdefault((params["secure.scheme"], params["privacy.epsilon"]), {})[params["seed"]] = (
                value
            )
    return values


def test_the_table_of_a_sweep_is_the_one_computed_by_hand(store, tmp_path, capsys):
    uri, _ = store
    main(
        ["--tracking-uri", uri, "--against", "epsilon=inf", "--no-log", "--csv", str(tmp_path / "table.csv")]
    )
    capsys.readouterr()
    values = by_hand(uri)
    assert len(values) == 4
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert len(lines) == 4
    ps = []
    for line in lines:
        scheme, epsilon = line["secure.scheme"], line["privacy.epsilon"]
        ours = [values[scheme, epsilon][str(seed)] for seed in SEEDS]
        assert (line["runs"], line["finished"], line["angular_error_deg_n"]) == ("3", "3", "3")
        assert float(line["angular_error_deg_mean"]) == pytest.approx(statistics.fmean(ours), rel=1e-12)
        assert float(line["angular_error_deg_sd"]) == pytest.approx(statistics.stdev(ours), rel=1e-9)
        assert (float(line["bytes_up_mean"]), float(line["bytes_per_reply_mean"])) == (3000.0, 3000.0 / 8)
        # value + 1 and value + 2 of training, twice 0.5 of aggregation
        assert float(line["seconds_mean"]) == pytest.approx(2 * statistics.fmean(ours) + 4, rel=1e-9)
        assert float(line["round_seconds_mean"]) == pytest.approx(statistics.fmean(ours) + 2, rel=1e-9)
        assert line["epsilon_spent"] == ("2.9" if epsilon == "3.0" else "")
        if epsilon == "3.0":
            theirs = [values[scheme, "inf"][str(seed)] for seed in SEEDS]
            wanted = stats.ttest_rel(ours, theirs)
            low, high = wanted.confidence_interval()
            found = [
                float(line[f"angular_error_deg_difference_{name}"]) for name in ("p", "low", "high", "pairs")
            ]
            assert found == pytest.approx([wanted.pvalue, low, high, 3], rel=1e-9)
            ps.append((float(wanted.pvalue), float(line["angular_error_deg_difference_p_holm"])))
        else:
            assert line["angular_error_deg_difference_p"] == ""
    (small, small_holm), (large, large_holm) = sorted(ps)
    assert small_holm == pytest.approx(min(1.0, 2 * small))
    assert large_holm == pytest.approx(max(small_holm, large))


def test_the_terminal_shows_groups_states_and_tests(store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(["--tracking-uri", store[0], "--no-log"])
    said = capsys.readouterr().out
    assert "fedpriv: gaze-sweep" in said
    assert said.count("3 of 3") == 4
    assert "Difference of angular error (deg) from scheme=plain, epsilon=3" in said
    assert "p (Holm)" in said


def test_json_is_one_object_and_what_was_written_is_said_beside_it(store, tmp_path, capsys):
    main(["--tracking-uri", store[0], "--json", "--no-log", "--markdown", str(tmp_path / "a.md")])
    out, err = capsys.readouterr()
    whole = json.loads(out)
    assert [each["label"] for each in whole["groups"]][:2] == [
        "scheme=plain, epsilon=3",
        "scheme=plain, epsilon=inf",
    ]
    assert sum(len(each["runs"]) for each in whole["groups"]) == 12
    assert err == f"written: {tmp_path / 'a.md'}\n"


def test_all_is_written_to_a_folder_and_kept_with_the_sweep(store, tmp_path, capsys):
    uri, sweep = store
    main(["gaze-sweep", "--tracking-uri", uri, "--out", str(tmp_path / "new" / "out")])
    said = capsys.readouterr().out
    assert f"kept in MLflow: run {sweep}, comparison/" in said
    names = {path.name for path in (tmp_path / "new" / "out").iterdir()}
    plots = {f"{kind}_angular_error_deg.{form}" for kind in PLOTS for form in ("png", "svg")}
    assert names == {"table.md", "table.csv", "table.tex", "table.json", "report.html"} | plots
    client = MlflowClient(uri)
    kept = {item.path for item in client.list_artifacts(sweep, "comparison")}
    assert kept == {f"comparison/{name}" for name in names}
    assert client.get_run(sweep).info.status == "FINISHED"
    page = (tmp_path / "new" / "out" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "fedpriv compare gaze-sweep --tracking-uri" in page
    main(["gaze-sweep", "--tracking-uri", uri, "--no-log"])
    assert "kept" not in capsys.readouterr().out


PLOTS = ("rounds", "frontier", "bytes", "seconds")


def test_the_readmes_commands_run_where_the_database_lies(store, tmp_path, monkeypatch, capsys):
    commands = re.findall(r"^fedpriv (compare.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) >= 3
    shutil.copy(store[0].removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name == "fedpriv")
    for logged in client.search_runs([experiment.experiment_id], "tags.overrides != ''"):
        client.log_batch(
            logged.info.run_id, params=[Param("privacy.unit", "sample")], tags=[RunTag("mode", "federated")]
        )
    for command in commands:
        _, *arguments = shlex.split(command)
        main([*arguments, "--no-log"])
        assert "3 of 3" in capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "comparison" / "frontier_angular_error_deg.png").exists()


def test_a_failed_run_is_shown_with_its_reason_and_not_averaged(store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(["older", "--tracking-uri", store[0], "--no-log"])
    said = capsys.readouterr().out
    assert "1 of 2, 1 failed: OSError: disk" in said
    assert "INCOMPLETE: 1 of 2 runs have not finished" in said
    assert "sweep older: 1 of 3 jobs have no run: they have not started" in said
    assert re.search(r"│\s+9 │", said)  # the mean of one run


def test_runs_are_chosen_by_filter_and_by_tag(store, capsys):
    def chosen(*options):
        main(["--tracking-uri", store[0], "--json", *options])
        whole = json.loads(capsys.readouterr().out)
        return sum(len(each["runs"]) for each in whole["groups"])

    assert chosen("--filter", "params.privacy.epsilon = '3.0'") == 6
    assert chosen("--filter", "metrics.angular_error_deg > 0") == 14
    assert chosen("--tag", "epsilon=2.9", "--filter", "params.secure.scheme = 'bfv'") == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["nowhere"],
            r"^compare nowhere: no sweep and no run of this name or id; sweeps, the newest first: gaze-sweep",
        ),
        (["--filter", "nonsense"], r"^filter nonsense: Invalid clause"),
        (["--filter", "params.a = 'b'"], r"^compare: tag or filter leaves none of 14 runs; ask for less$"),
        (["--tag", "alone"], r"^--tag alone: needs NAME=VALUE, e\.g\. epsilon=inf$"),
        (["--experiment", "none"], r"^tracking\.experiment=none: is not in sqlite:"),
        (
            ["--metric", "loss"],
            r"^--metric loss: none of the 12 runs has it; name one of angular_error_deg, ",
        ),
        (
            ["--against", "width=4"],
            r"^--against width: is no setting in which the groups differ; .* scheme, epsilon$",
        ),
        (["gaze-sweep", "older", "--log"], r"^--log: the runs are of 2 sweeps, and only one can keep"),
        (
            ["--lower-is-better", "--higher-is-better"],
            r"^compare: argument --higher-is-better: not allowed with",
        ),
    ],
)
def test_a_wish_without_sense_is_one_line(store, options, said):
    with pytest.raises(UserError, match=said) as refused:
        main([*options, "--tracking-uri", store[0]])
    assert "\n" not in str(refused.value)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(store, tmp_path):
    (tmp_path / "file").write_text("kept")
    for option, place in (("--out", tmp_path / "file"), ("--csv", tmp_path / "no" / "folder.csv")):
        with pytest.raises(UserError, match=rf"^{place}: .*; choose another place$"):
            main(["--tracking-uri", store[0], "--no-log", option, str(place)])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_no_store_is_refused_and_none_is_made(tmp_path):
    with pytest.raises(UserError, match="no such database"):
        main(["--tracking-uri", f"sqlite:///{tmp_path}/none.db"])
    assert not list(tmp_path.iterdir())


def test_infinities_and_what_is_not_a_number_come_back_from_the_store_as_such(store, capsys):
    client, experiment = open_experiment(locate(store[0]), "diverged")
    for seed, value in enumerate((1.0, math.inf, math.nan)):
        run = client.create_run(experiment, tags=JUDGED)
        client.log_batch(run.info.run_id, params=[Param("seed", str(seed))])
        client.log_metric(run.info.run_id, "angular_error_deg", value, step=1)
        client.set_terminated(run.info.run_id)
    main(["--tracking-uri", store[0], "--experiment", "diverged", "--json"])
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert (group["angular_error_deg_mean"], group["angular_error_deg_n"], group["finished"]) == (1.0, 1, 3)
    assert [run["reason"] for run in group["runs"]] == [
        "",
        "angular_error_deg is inf",
        "angular_error_deg is nan",
    ]


def test_the_command_is_one_of_fedpriv_and_imports_neither_torch_nor_hydra():
    assert COMMANDS["compare"].__doc__
    code = (
        "import experiments.compare, sys; print(*{'torch', 'hydra', 'omegaconf', 'flwr'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_what_real_runs_log_is_what_is_compared(tmp_path, tiny, capsys):
    uri, reports = f"sqlite:///{tmp_path}/mlflow.db", {}
    for epsilon in (3.0, math.inf):
        for seed in (0, 1):
            config = tiny("tracking=mlflow", "privacy=dp_sgd", f"privacy.epsilon={epsilon}", f"seed={seed}")
            config.tracking.uri, config.tracking.log_model, config.evaluation.pictures = uri, False, 0
            config.privacy.ledger = None
            reports[epsilon, seed] = run(config)
    main(["--tracking-uri", uri, "--json"])
    whole = json.loads(capsys.readouterr().out)
    assert whole["metrics"][0]["name"] == "angular_error_deg"
    assert whole["metrics"][0]["lower_is_better"] is True
    assert [each["label"] for each in whole["groups"]] == ["epsilon=3", "epsilon=inf"]
    for each, epsilon in zip(whole["groups"], (3.0, math.inf), strict=True):
        histories = [reports[epsilon, seed].history for seed in (0, 1)]
        last = [history[-1] for history in histories]
        values = [result.metrics["angular_error_deg"] for result in last]
        assert each["angular_error_deg_mean"] == pytest.approx(statistics.fmean(values))
        assert each["angular_error_deg_sd"] == pytest.approx(statistics.stdev(values))
        sent = [sum(result.bytes_up for result in history) for history in histories]
        assert each["bytes_up_mean"] == statistics.fmean(sent)
        seconds = [sum(map(wall_seconds, history)) for history in histories]
        assert each["seconds_mean"] == pytest.approx(statistics.fmean(seconds))
        spent = None if epsilon == math.inf else max(result.epsilon for result in last)
        assert each["epsilon_spent"] == (spent if spent is None else pytest.approx(spent))
