"""A saved model measured again: the run's own figures, other data, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from experiments.evaluate.saved_models import from_checkpoint, from_run
from fedpriv.checkpoint import Checkpoint
from fedpriv.cli import main
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.errors import UserError
from fedpriv.privacy.rounded import at_most
from fedpriv.runner import run
from fedpriv.training.parameters import FlatParameters
from tests.config.small import SMALL

FEW = ("data.people=4", "data.images_per_person=16")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, database):
    """A private classification run: (report, tracking URI, output folder)."""
    folder = tmp_path_factory.mktemp("trained")
    uri = database(folder / "mlflow.db")
    config = compose_run(
        *SMALL,
        "data.images_per_person=12",
        "privacy=dp_sgd",
        "federation.rounds=2",
        "engine.workers=0",
        "engine.threads=1",
        "tracking=mlflow",
        f"tracking.uri={uri}",
        "evaluation.pictures=0",
    )
    return run(config, output_dir=folder / "out"), uri, folder / "out"


def ways(trained):
    report, uri, folder = trained
    return (["--run", report.mlflow_run_id, "--tracking-uri", uri], ["--checkpoint", str(folder)])


def as_json(capsys, *arguments):
    main(["evaluate", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("way", [0, 1], ids=["run", "checkpoint"])
def test_guarantee_the_runs_own_figures_come_out_exactly(trained, capsys, way):
    report, uri, _ = trained
    found = as_json(capsys, *ways(trained)[way])
    logged = MlflowClient(uri).get_run(report.mlflow_run_id).data.metrics
    assert found["metrics"] == {name: logged[name] for name in found["metrics"]} == report.history[-1].metrics
    assert found["baseline"] == report.baseline
    assert found["privacy"] == {
        "unit": "sample",
        "relation": "one image added or removed",
        "epsilon": report.history[-1].epsilon,
        "delta": 1e-5,
        "accountant": report.history[-1].accountant,
        "data": "synthetic_patterns",
        "noise": "secure",
    }
    assert (found["images"], found["people"], found["people_trained_on"]) == (36, 3, 0)
    assert found["run_id"] == report.mlflow_run_id


def test_other_data_of_the_same_kind_are_measured(trained, capsys):
    report = trained[0]
    found = as_json(capsys, *ways(trained)[0], "data.seed=5", "data.people=20", "evaluation.test_subjects=15")
    text = to_json(compose_run(*SMALL, "data.images_per_person=12", "data.seed=5", "data.people=20")).replace(
        '"test_subjects": 3', '"test_subjects": 15'
    )
    task, _, test = build_data(text)
    model = build_backbone(text)
    FlatParameters(model).load(report.parameters)
    assert found["metrics"] == pytest.approx(task.evaluate(model, test))
    assert found["images"] == len(test) == 180
    assert found["people_trained_on"] is None


def test_people_whom_the_model_has_seen_are_counted_and_cautioned_against(trained, capsys):
    found = as_json(capsys, *ways(trained)[0], "evaluation.test_subjects=9")
    # the first three of nine are the run's test people
    assert (found["people"], found["people_trained_on"]) == (9, 6)
    main(["evaluate", *ways(trained)[0], "evaluation.test_subjects=9"])
    assert "the model was trained on 6 of these people" in capsys.readouterr().out


def test_the_table_shows_model_baseline_data_and_privacy(trained, capsys, tmp_path):
    picture = tmp_path / "picture.png"
    main(["evaluate", *ways(trained)[1], "--picture", str(picture)])
    printed = capsys.readouterr().out
    for part in ("accuracy", "most frequent class", "36 images of 3 people", "3 drawn by seed 0", "epsilon"):
        assert part in printed
    with Image.open(picture) as drawn:
        assert drawn.width > 100
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_log_writes_to_the_run_and_leaves_its_status_and_figures(trained, capsys):
    report, uri, _ = trained
    before = MlflowClient(uri).get_run(report.mlflow_run_id)
    found = as_json(capsys, *ways(trained)[1], "--log", "data.people=9")
    after = MlflowClient(uri).get_run(report.mlflow_run_id)
    new = {name: value for name, value in after.data.metrics.items() if name not in before.data.metrics}
    assert new == {f"evaluate/synthetic_patterns/{name}": found["metrics"][name] for name in found["metrics"]}
    assert before.data.metrics.items() <= after.data.metrics.items()
    assert after.info.status == before.info.status == "FINISHED"


@pytest.mark.parametrize("way", [0, 1], ids=["run", "checkpoint"])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.size=24"], "data=synthetic_patterns: its images are 3 x 24 x 24, the model of "),
        (["data.classes=5"], "data=synthetic_patterns: needs 5 outputs per image, the model of "),
        (["data=synthetic_eyes", *FEW], "data=synthetic_eyes: ClassificationTask needs one class per image"),
        (["data=nope"], "data=nope: there is no such choice; choose one of "),
        (["data.poeple=3"], "data.poeple=3: data has no such key; did you mean data.people?"),
        (["training.batch_size=3"], "training.batch_size=3: bears on no evaluation; give data=NAME"),
        (["evaluation.protocol=published"], "evaluation.protocol=published: data=synthetic_patterns has no"),
        (["data.seed=${nope}"], "data.seed: Interpolation key 'nope' not found"),
        (["evaluation.pictures=-5", "--picture", "x.png"], "evaluation.pictures=-5: must not be negative"),
        (["--picture", "/nowhere/x.png"], "--picture /nowhere/x.png: No such file or directory"),
        (["--picture", "x.exe"], "--picture x.exe: cannot draw that format"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_one_line(trained, capsys, way, overrides, message):
    refused(capsys, [*ways(trained)[way], *overrides], message)


@pytest.mark.parametrize("run_id", ["0123", "f" * 32, "../../etc/passwd", "a\nb", "$(id)", "-1"])
def test_a_run_that_is_not_there_is_one_line(trained, capsys, run_id):
    refused(capsys, [f"--run={run_id}", "--tracking-uri", trained[1]], "run_id=")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:////nowhere/x.db", "tracking.uri=sqlite:////nowhere/x.db: no such database"),
        ("file:///etc", "tracking.uri=file:///etc: MLflow keeps no runs there"),
    ],
)
def test_a_store_that_is_not_there_is_one_line(capsys, uri, message):
    refused(capsys, ["--run", "f" * 32, "--tracking-uri", uri], message)


def test_a_folder_without_a_whole_checkpoint_is_one_line(trained, capsys, tmp_path):
    refused(capsys, ["--checkpoint", "/etc/passwd"], "/etc/passwd: holds no checkpoint")
    refused(capsys, ["--checkpoint", str(tmp_path)], f"{tmp_path}: holds no checkpoint")
    shutil.copytree(trained[2], tmp_path / "copy")
    state = tmp_path / "copy" / "checkpoint" / "state.npz"
    state.write_bytes(state.read_bytes()[:-500])
    refused(capsys, ["--checkpoint", str(tmp_path / "copy")], f"{state}: is damaged")


def test_a_checkpoint_of_weights_that_are_no_numbers_is_one_line(trained, capsys, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained[2], folder)
    with np.load(folder / "checkpoint" / "state.npz") as state:
        arrays = dict(state)
    arrays["parameters"][0] = np.inf
    np.savez(folder / "checkpoint" / "state.npz", **arrays)
    first = next(iter(from_checkpoint(trained[2]).model.state_dict()))
    refused(
        capsys,
        ["--checkpoint", str(folder)],
        f"{folder}: its model holds NaN or infinite weights in {first}; choose another run",
    )


@pytest.mark.parametrize("name", ["run.json", "state.npz"])
def test_a_checkpoint_that_cannot_be_read_is_one_line(trained, capsys, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(trained[2], copy)
    (copy / "checkpoint" / name).unlink()
    (copy / "checkpoint" / name).mkdir()
    refused(capsys, ["--checkpoint", str(copy)], f"{copy / 'checkpoint' / name}: cannot be read (Is a dir")


def test_a_record_that_is_a_circle_of_links_is_one_line(capsys, tmp_path):
    record = tmp_path / "checkpoint" / "run.json"
    record.parent.mkdir()
    record.symlink_to(record)
    refused(capsys, ["--checkpoint", str(tmp_path)], f"{record}: cannot be read (Too many levels of symb")


def rewritten(trained, folder, group, key, value, **changes):
    """Copy a checkpoint with one setting changed as if the run had begun with it; return its folder."""
    shutil.copytree(trained[2], folder)
    checkpoint = Checkpoint(folder)
    record, snapshot = checkpoint.record(), checkpoint.load()
    record.config[group][key] = value
    checkpoint.begin(replace(record, finished=False))
    checkpoint.save(replace(snapshot, **changes))
    return folder


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("model", "hidden", 65, "{copy}: its data now give another model than it holds"),
        ("model", "_target_", "os.system", "model._target_=os.system: not allowed"),
        ("model", "hidden", "${nope}", "{copy}: model.hidden: Interpolation key 'nope' not found"),
        ("privacy", "delta", None, "privacy.delta: is missing"),
    ],
)
def test_a_checkpoint_of_another_model_is_one_line(trained, capsys, tmp_path, group, key, value, message):
    copy = rewritten(trained, tmp_path / "copy", group, key, value)
    refused(capsys, ["--checkpoint", str(copy)], message.format(copy=copy))


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_what_an_unfinished_run_has_charged_beyond_its_model_is_said(trained, capsys, tmp_path, rounds):
    history = trained[0].history
    # the clients' own books are those after round 2, as when a run is cut off after `resume` charged them
    copy = rewritten(trained, tmp_path / "copy", "privacy", "delta", 1e-5, history=history[: rounds + 1])
    found = as_json(capsys, "--checkpoint", str(copy))
    assert found["privacy"]["epsilon"] == (history[rounds].epsilon if rounds else 0.0)
    assert found["privacy"]["delta"] == 1e-5
    assert found["epsilon_charged"] == (None if rounds == 2 else pytest.approx(history[2].epsilon))
    main(["evaluate", "--checkpoint", str(copy)])
    printed = " ".join(capsys.readouterr().out.split())
    said = f"epsilon {at_most(history[2].epsilon)} is spent on the data so far, more than this model's"
    assert (said in printed) == (rounds < 2)
    assert "no differential privacy" not in printed


def test_a_store_beside_a_checkpoint_is_refused(trained, capsys):
    _, uri, folder = trained
    refused(
        capsys,
        ["--checkpoint", str(folder), "--log", "--tracking-uri", uri],
        "--tracking-uri: has no effect with --checkpoint",
    )


def refused(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fedpriv: {message}")
    assert said.count("\n") == 1


def test_log_without_a_tracked_run_is_refused(capsys, tmp_path):
    folder = tmp_path / "out"
    config = compose_run(*SMALL, "federation.rounds=1", "engine.workers=0", "tracking=none")
    run(config, output_dir=folder)
    refused(capsys, ["--checkpoint", str(folder), "--log"], f"--log: {folder} was not tracked by MLflow")
    assert from_checkpoint(folder).run_id is None


def test_a_model_whose_configuration_is_not_fedprivs_is_refused(trained, capsys):
    report, uri, _ = trained
    client = MlflowClient(uri)
    other = client.create_run(client.get_run(report.mlflow_run_id).info.experiment_id).info.run_id
    for text, message in (
        (None, f"run_id={other}: its config.yaml cannot be read"),
        ("- 1", f"run_id={other}: its config.yaml holds no settings"),
        ("a: [", f"run_id={other}: its config.yaml cannot be read"),
        ("a: " + "x" * 2**20, f"run_id={other}: its config.yaml is larger than 1 MiB"),
        ("task: 1", f"run_id={other}: the run has no model"),
    ):
        if text is not None:
            client.log_text(other, text, "config.yaml")
        with pytest.raises(UserError) as caught:
            from_run(other, uri)
        assert str(caught.value).startswith(message)
