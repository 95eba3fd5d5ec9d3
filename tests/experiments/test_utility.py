"""The utility table: what runs say, averaged as by hand, and nothing averaged away."""

import csv
import dataclasses
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from experiments.utility.__main__ import main
from experiments.utility.figure import utility_plot
from experiments.utility.notes import notes_of
from experiments.utility.table import rows_of, to_csv, to_markdown
from experiments.utility.trials import LEVELS, TASKS, collect
from fedpriv.errors import UserError
from fedpriv.runner import run
from fedpriv.tracking.queries import LoggedRun, runs_of
from fedpriv.tracking.store import locate, open_experiment

EPSILONS, SEEDS = (1.0, 3.0, 8.0, math.inf), (0, 1, 2)
HOME = Path(__file__).parents[2] / "experiments" / "utility"


def logged(task, level, epsilon, seed, value, **changes):
    """Return a finished run as MLflow has it; its claim is just below the target."""
    spec, target = TASKS[task].metric.name, f"{TASKS[task].__module__}.{TASKS[task].__name__}"
    metrics = {spec: value, f"baseline_{spec}": 10.0 + seed}
    if math.isfinite(epsilon):
        metrics["epsilon"] = 0.99 * epsilon
    params = {
        "task._target_": target,
        "privacy.unit": level,
        "privacy.epsilon": str(epsilon),
        "privacy.delta": "1e-05",
        "privacy.noise": "secure",
        "training.learning_rate": "0.1",
        "seed": str(seed),
        "tracking.run_name": f"{task}{seed}",
    }
    plain = LoggedRun(f"{task}-{level}-{epsilon:g}-{seed}", "", "FINISHED", params, {}, metrics)
    return dataclasses.replace(plain, **changes)


def sweep():
    """Return 48 runs; seed s of cell number c measures c + {1, 2, 6}[s]."""
    cells = [(task, level, eps) for task in TASKS for level in LEVELS for eps in EPSILONS]
    return [
        logged(*cell, seed, number + (1.0, 2.0, 6.0)[seed])
        for number, cell in enumerate(cells)
        for seed in SEEDS
    ]


def test_the_table_is_the_one_computed_by_hand():
    trials, gaps = collect(sweep(), EPSILONS, SEEDS)
    assert gaps == []
    assert len(trials) == 48
    rows = rows_of(trials)
    assert [(row.task, row.level, row.epsilon) for row in rows][:5] == [
        ("gaze", "sample", 1.0),
        ("gaze", "sample", 3.0),
        ("gaze", "sample", 8.0),
        ("gaze", "sample", math.inf),
        ("gaze", "client", 1.0),
    ]
    for number, row in enumerate(rows):
        assert row.mean == pytest.approx(number + 3.0)
        # ((1-3)^2 + (2-3)^2 + (6-3)^2) / 2 = 7
        assert row.deviation == pytest.approx(math.sqrt(7.0))
        assert (row.n, row.baseline) == (3, pytest.approx(11.0))
        assert row.claimed == (None if math.isinf(row.epsilon) else pytest.approx(0.99 * row.epsilon))
        assert row.delta == (None if math.isinf(row.epsilon) else 1e-5)
    text = to_markdown(rows).splitlines()
    assert text[0] == ("| task | protected | without learning | ε = 1 | ε = 3 | ε = 8 | ε = ∞ (no privacy) |")
    assert text[2] == (
        "| gaze: angular error (deg), lower is better | an image | 11.00 | 3.00 ± 2.65 | 4.00 ± 2.65 "
        "| 5.00 ± 2.65 | 6.00 ± 2.65 |"
    )
    assert text[5].endswith(
        "| a client | 11.000 | 15.000 ± 2.646 | 16.000 ± 2.646 | 17.000 ± 2.646 | 18.000 ± 2.646 |"
    )
    table = list(csv.DictReader(to_csv(rows).splitlines()))
    assert [float(line["epsilon"]) for line in table[:4]] == list(EPSILONS)
    assert [float(line["mean"]) for line in table] == pytest.approx([row.mean for row in rows])
    assert table[3]["claimed"] == ""
    assert [line["noise"] for line in table] == ["secure", "secure", "secure", "none"] * 4
    assert {line["note"] for line in table} == {""}
    assert text[6:] == ["", "ε is of the whole run, at δ = 1e-05."]


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED", "SCHEDULED"])
def test_a_run_that_is_missing_or_unfinished_is_named_and_not_averaged_away(status):
    runs = sweep()
    runs[4] = dataclasses.replace(runs[4], status=status)
    del runs[40]
    trials, gaps = collect(runs, EPSILONS, SEEDS)
    assert [str(gap) for gap in gaps] == [
        f"gaze sample epsilon=3 seed=1 ({status.lower()})",
        "emotion client epsilon=3 seed=1 (no run)",
    ]
    rows = {(row.task, row.level, row.epsilon): row for row in rows_of(trials)}
    assert rows["gaze", "sample", 3.0].n == 2
    assert rows["gaze", "sample", 3.0].mean == pytest.approx(1 + (1.0 + 6.0) / 2)
    assert "4.50 ± 3.54 (n = 2)" in to_markdown(list(rows.values()))


def test_one_seed_has_no_deviation_and_a_cell_without_runs_is_missing():
    trials, _ = collect(sweep()[:1] + sweep()[6:7], EPSILONS, SEEDS)
    rows = rows_of(trials)
    assert [row.deviation for row in rows] == [None, None]
    assert "| 1.00 | 3.00 |" in to_markdown(rows)
    trials, _ = collect(sweep()[:1] + sweep()[18:19], EPSILONS, SEEDS)
    assert "missing" in to_markdown(rows_of(trials))


def test_a_failed_run_that_was_repeated_counts_once():
    runs = sweep()
    again = dataclasses.replace(runs[0], run_id="earlier", status="FAILED", metrics={})
    assert collect([again, *runs], EPSILONS, SEEDS) == collect(runs, EPSILONS, SEEDS)


def test_runs_of_other_kinds_are_left_alone():
    runs = sweep()
    face = {**runs[0].params, "task._target_": "fedpriv.tasks.face.FaceTask"}
    by_noise = {**runs[0].params, "privacy.epsilon": "null"}
    others = [
        dataclasses.replace(runs[0], params=params)
        for params in (face, by_noise, {}, {**runs[0].params, "privacy.unit": "none"}, {**face, "seed": "x"})
    ]
    assert collect([*others, *runs], EPSILONS, SEEDS) == collect(runs, EPSILONS, SEEDS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"metrics": {"angular_error_deg": 1.0, "baseline_angular_error_deg": 2.0, "epsilon": 1.001}},
            "more than",
        ),
        ({"metrics": {"angular_error_deg": 1.0, "baseline_angular_error_deg": 2.0}}, "states nothing"),
        ({"metrics": {"epsilon": 0.9}}, "has no metric angular_error_deg"),
        ({"metrics": {**sweep()[0].metrics, "angular_error_deg": math.nan}}, "its angular_error_deg is nan"),
        (
            {"metrics": {**sweep()[0].metrics, "baseline_angular_error_deg": math.inf}},
            "its baseline_.* is inf",
        ),
        ({"metrics": {**sweep()[0].metrics, "epsilon": math.nan}}, "its epsilon is nan"),
        ({"params": {**sweep()[0].params, "privacy.delta": "null"}}, r"its privacy\.delta is null"),
        ({"params": {**sweep()[0].params, "privacy.delta": "1.0"}}, r"its privacy\.delta is 1\.0"),
        (
            {"params": {k: v for k, v in sweep()[0].params.items() if k != "privacy.delta"}},
            r"its privacy\.delta is missing",
        ),
        (
            {"params": {**sweep()[0].params, "training.learning_rate": "0.2"}},
            "differ in training.learning_rate",
        ),
        ({"params": {**sweep()[0].params, "secure.bits": "12"}}, r"differ in secure.bits \(12, None\)"),
    ],
)
def test_a_figure_that_would_mislead_is_refused(changes, said):
    runs = sweep()
    runs[0] = dataclasses.replace(runs[0], **changes)
    with pytest.raises(UserError, match=said):
        collect(runs, EPSILONS, SEEDS)


@pytest.mark.parametrize(
    ("tag", "metric", "claimed"),
    [
        (None, 0.99, 0.99),
        ("0.991", 0.99, 0.991),
        # the tag is the metric rounded up, past the target
        ("1", 0.99999999, 0.99999999),
        ("0", None, 0.0),
    ],
)
def test_what_a_run_claims_is_its_tag_where_it_has_one(tag, metric, claimed):
    runs = sweep()
    metrics = {name: value for name, value in runs[0].metrics.items() if name != "epsilon"}
    runs[0] = dataclasses.replace(
        runs[0],
        tags={} if tag is None else {"epsilon": tag},
        metrics=metrics if metric is None else {**metrics, "epsilon": metric},
    )
    assert collect(runs, EPSILONS, SEEDS)[0][0].claimed == claimed


@pytest.mark.parametrize(("tag", "said"), [("inf", "inf"), ("none", "nan"), ("1.1", "more than its target")])
def test_a_tag_that_does_not_keep_the_target_is_refused_whatever_the_metric(tag, said):
    runs = sweep()
    runs[0] = dataclasses.replace(runs[0], tags={"epsilon": tag})
    with pytest.raises(UserError, match=said):
        collect(runs, EPSILONS, SEEDS)


def test_a_run_without_privacy_that_states_an_epsilon_is_refused():
    runs = sweep()
    runs[9] = dataclasses.replace(runs[9], metrics={**runs[9].metrics, "epsilon": 5.0})
    with pytest.raises(UserError, match=r"states epsilon 5 where privacy\.epsilon=inf"):
        collect(runs, EPSILONS, SEEDS)


def test_two_finished_runs_of_one_place_are_refused_by_name():
    twice = dataclasses.replace(sweep()[0], run_id="second")
    with pytest.raises(UserError, match="gaze-sample-1-0, second have both finished"):
        collect([*sweep(), twice], EPSILONS, SEEDS)


def test_seeded_noise_is_noticed():
    runs = sweep()
    runs[0] = dataclasses.replace(runs[0], params={**runs[0].params, "privacy.noise": "fast"})
    with pytest.raises(UserError, match=r"differ in privacy\.noise"):
        collect(runs, EPSILONS, SEEDS)
    seeded = [dataclasses.replace(run, params={**run.params, "privacy.noise": "fast"}) for run in sweep()]
    trials, _ = collect(seeded, EPSILONS, SEEDS)
    assert {trial.seeded_noise for trial in trials if trial.claimed is not None} == {True}
    notes = notes_of(trials, [])
    assert len(notes) == 1
    assert notes[0].startswith(
        "NOTE: noise of 36 runs was seeded (privacy.noise=fast), so it protects nobody"
    )
    rows = rows_of(trials)
    assert to_markdown(rows, notes).splitlines()[-1] == notes[0]
    table = list(csv.DictReader(to_csv(rows, notes).splitlines()))
    assert [line["noise"] for line in table] == ["seeded", "seeded", "seeded", "none"] * 4
    assert {line["note"] for line in table} == {notes[0]}


def test_missing_runs_are_noted_in_every_file():
    trials, gaps = collect(sweep()[1:], EPSILONS, SEEDS)
    notes = notes_of(trials, gaps)
    said = "INCOMPLETE: 1 of 48 runs are missing or unfinished: gaze sample epsilon=1 seed=0 (no run)"
    assert notes == [said]
    assert said in to_markdown(rows_of(trials), notes)
    assert to_csv(rows_of(trials), notes).count(said) == 16


def test_runs_of_different_commits_are_noted():
    runs = [dataclasses.replace(run, tags={"git_commit": "abc"}) for run in sweep()]
    assert notes_of(*collect(runs, EPSILONS, SEEDS)) == []
    runs[30] = dataclasses.replace(runs[30], tags={"git_commit": "abc-dirty"})
    assert notes_of(*collect(runs, EPSILONS, SEEDS)) == [
        "NOTE: the runs are of 2 git commits: abc, abc-dirty"
    ]


@pytest.mark.parametrize(
    ("replied", "failed", "spent", "noted"),
    [(0.0, 4.0, 4.0, True), (3.0, 1.0, 1.0, False), (4.0, 0.0, 4.0, False), (0.0, 4.0, 3.0, False)],
    ids=["all", "one", "all in an earlier round", "all but one, who was lost"],
)
def test_runs_whose_last_round_every_client_refused_are_noted(replied, failed, spent, noted):
    runs = sweep()
    last = {
        "clients_asked": 4.0,
        "clients_replied": replied,
        "clients_failed": failed,
        "clients_failed_budget_spent": spent,
    }
    runs[2] = dataclasses.replace(runs[2], metrics={**runs[2].metrics, **last})
    notes = notes_of(*collect(runs, EPSILONS, SEEDS))
    assert len(notes) == noted
    assert not notes or notes[0].endswith("budget was spent: gaze sample epsilon=1 seed=2 (gaze-sample-1-2)")


def test_the_plot_shows_the_table_with_epsilon_on_a_logarithmic_axis_and_infinity_at_its_end(tmp_path):
    rows = rows_of(collect(sweep(), EPSILONS, SEEDS)[0])
    figure = utility_plot(rows)
    assert len(figure.axes) == 2
    for axes, task in zip(figure.axes, TASKS, strict=True):
        assert axes.get_xscale() == "log"
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["1", "3", "8", "∞"]
        assert max(axes.get_xticks()) == axes.get_xticks()[-1] > 8
        assert TASKS[task].metric.label in axes.get_ylabel()
        assert "δ = 1e-5" in axes.get_xlabel()
        for container, level in zip(axes.containers, LEVELS, strict=True):
            here = [row for row in rows if (row.task, row.level) == (task, level)]
            points, _, (bars,) = container.lines
            assert list(points.get_ydata()) == pytest.approx([row.mean for row in here])
            lengths = [segment[1][1] - segment[0][1] for segment in bars.get_segments()]
            assert lengths == pytest.approx([2 * math.sqrt(7.0)] * 4)
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [set(line.get_ydata()) for line in dashed] == [{11.0}]
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.slow
def test_real_runs_are_tabulated_as_they_reported_themselves(tiny, tmp_path, capsys):
    uri = f"sqlite:///{tmp_path}/runs.db"
    reports = {}
    levels = {"sample": ("privacy=dp_sgd",), "client": ("privacy=client_level", "secure=bfv")}
    tracked = (
        "tracking=mlflow",
        f"tracking.uri={uri}",
        "tracking.experiment=utility",
        "tracking.log_model=false",
    )
    for level, given in levels.items():
        for epsilon, seed in ((8, 0), (8, 1), ("inf", 0)):
            config = tiny(
                *given, *tracked, "tracking.log_partition=false", f"privacy.epsilon={epsilon}", f"seed={seed}"
            )
            reports[level, float(epsilon), seed] = run(config)
    trials, gaps = collect(runs_of(uri, "utility"), (8.0, math.inf), (0, 1))
    assert {(*trial.cell[1:], trial.seed): trial.value for trial in trials} == {
        place: report.history[-1].metrics["angular_error_deg"] for place, report in reports.items()
    }
    assert {(*trial.cell[1:], trial.seed): trial.claimed for trial in trials} == {
        place: report.history[-1].epsilon for place, report in reports.items()
    }
    assert all(trial.claimed <= 8.0 for trial in trials if trial.claimed is not None)
    assert len(gaps) == 2 + 8  # seed 1 without privacy, and all of emotion

    given = ["--tracking-uri", uri, "--epsilon", "8,inf", "--seed", "0,1", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="2"):
        main(given)
    assert (
        "10 of 16 runs are missing or unfinished: gaze sample epsilon=inf seed=1 (no run); "
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
    main([*given, "--incomplete"])
    said = capsys.readouterr().out
    first = [reports["sample", 8.0, seed].history[-1].metrics["angular_error_deg"] for seed in (0, 1)]
    mean, half = sum(first) / 2, abs(first[0] - first[1]) / 2
    assert f"| {mean:.2f} ± {half * math.sqrt(2):.2f} |" in said
    assert "INCOMPLETE: 10 of 16" in said
    for name in ("table.md", "table.csv"):
        assert "INCOMPLETE: 10 of 16" in (tmp_path / "out" / name).read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "table.csv",
        "table.md",
        "utility.png",
        "utility.svg",
    ]
    with Image.open(tmp_path / "out" / "utility.png") as picture:
        assert picture.width > 400
    drawn = (tmp_path / "out" / "utility.svg").read_bytes()
    main([*given, "--incomplete"])
    assert (tmp_path / "out" / "utility.svg").read_bytes() == drawn


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--experiment", "nope"], "tracking.experiment=nope: is not in "),
        (["--tracking-uri", "sqlite:///nowhere/at/all.db"], "no such database"),
        (["--seed", "0;1"], "--seed 0;1: needs numbers with commas"),
        (["--epsilon", "-1"], "--epsilon -1: must be positive"),
        (["--seed", "0,1,00"], "--seed 0,1,00: has 0 more than once"),
        (["--epsilon", "1,inf,1.0"], "--epsilon 1,inf,1.0: has 1 more than once"),
        (["--nothing"], "unrecognized arguments: --nothing; see `python -m experiments.utility --help`"),
        (["--tracking-uri", "sqlite:///text.db"], "is no SQLite database"),
        (["--tracking-uri", "sqlite:///folder.db"], "Is a directory"),
    ],
)
def test_mistakes_are_one_line_and_status_2(given, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--experiment" in given:  # a store that has others; the rest never comes to it
        open_experiment(locate(None), "other")
    Path("text.db").write_text("figures of January\n" * 100)
    Path("folder.db").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main(given)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_readme_shows_the_table_and_the_plot_that_are_beside_it():
    readme = (HOME / "README.md").read_text()
    table = list(csv.DictReader((HOME / "table.csv").read_text().splitlines()))
    assert len(table) == len(TASKS) * len(LEVELS) * len(EPSILONS)
    assert {int(line["n"]) for line in table} == {len(SEEDS)}
    for line in table:
        digits = 2 if line["task"] == "gaze" else 3
        assert f"{float(line['mean']):.{digits}f} ± {float(line['deviation']):.{digits}f}" in readme
        assert (line["claimed"] == "") == math.isinf(float(line["epsilon"]))
        assert (line["noise"], line["note"]) == ("none" if line["claimed"] == "" else "secure", "")
        assert not line["claimed"] or float(line["claimed"]) <= float(line["epsilon"])
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme)
    assert (HOME / picture).stat().st_size < 150_000
