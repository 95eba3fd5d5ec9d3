import argparse
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from data_tools import partition as partition_command
from data_tools.cli import main

SMALL = (
    "task=classification",
    "data.people=10",
    "data.images_per_person=6",
    "data.classes=3",
    "evaluation.test_subjects=3",
    "federation.clients=4",
)


def as_json(capsys, *arguments):
    main(["partition", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def partition(*arguments):
    partition_command.main(argparse.Namespace(overrides=list(arguments), plot=None, json=False))


def test_json_is_what_the_run_would_train_on(capsys):
    from fedpriv.config.as_json import to_json
    from fedpriv.config.compose import compose_run
    from fedpriv.config.datasets import build_data, build_shares

    overrides = (*SMALL, "partition=dirichlet", "partition.alpha=0.3", "seed=5")
    found = as_json(capsys, *overrides)
    config = compose_run(*overrides)
    _, training, _ = build_data(to_json(config))
    shares = build_shares(config, training)
    assert [client["images"] for client in found["clients"]] == [len(share) for share in shares]
    for client, share in zip(found["clients"], shares, strict=True):
        held = np.bincount(training.targets[share])
        assert client["images_per_label"] == {str(k): int(n) for k, n in enumerate(held) if n}
        assert client["people"] == len(set(training.subjects[share]))
        assert client["largest_label_share"] == held.max() / len(share)
    assert (found["images"], found["people"], found["test_images"]) == (42, 7, 18)


def test_the_table_has_a_row_per_client_and_a_summary(capsys):
    main(["partition", *SMALL, "partition=quantity_skew"])
    printed = capsys.readouterr().out
    assert printed.startswith("quantity_skew of synthetic_patterns")
    assert sum(line.startswith("│") for line in printed.splitlines()) == 4
    assert "4 clients hold 42 images of 7 people: " in printed


def test_many_clients_are_cut_off_and_counted(capsys):
    main(["partition", *SMALL, "data.people=100", "federation.clients=90"])
    printed = capsys.readouterr().out
    assert sum(line.startswith("│") for line in printed.splitlines()) == 40
    assert "and 50 clients more; --json prints every one" in printed


@pytest.mark.parametrize("name", ["split.png", "split.PNG"])
def test_the_plot_is_written(tmp_path, name):
    main(["partition", *SMALL, "--plot", str(tmp_path / name)])
    with Image.open(tmp_path / name) as picture:
        assert picture.width > 800
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("arguments", ["federation.clients=0", "federation.clients=-3", "seed=-1"])
def test_what_a_run_refuses_is_refused_in_the_same_words(arguments):
    from fedpriv.config.checks import check
    from fedpriv.config.compose import compose_run
    from fedpriv.errors import UserError

    said = []
    for refuse in (lambda: check(compose_run(*SMALL, arguments)), lambda: partition(*SMALL, arguments)):
        with pytest.raises(UserError) as caught:
            refuse()
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_the_examples_of_the_help_run(capsys, tmp_path, monkeypatch, real_data):
    with pytest.raises(SystemExit):
        main(["partition", "--help"])
    examples = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert len(examples) == 2
    (tmp_path / "orl_faces").symlink_to(real_data / "orl_faces")
    monkeypatch.chdir(tmp_path)
    for example in examples:
        program, *arguments = shlex.split(example)
        assert program == "fedpriv-data"
        main(arguments)
        clients = next(word for word in arguments if word.startswith("federation.clients=")).partition("=")[2]
        assert f"{clients} clients hold " in capsys.readouterr().out
    assert (tmp_path / "split.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task=nope"], "task=nope: there is no such choice; choose one of "),
        (["data=null"], "data=null: there is no such choice; choose one of affectnet, "),
        (["federation.clients=0"], "federation.clients=0: must be positive"),
        ([*SMALL, "federation.clients=-3"], "federation.clients=-3: must be positive"),
        ([*SMALL, "evaluation.test_subjects=0"], "evaluation.test_subjects=0: must be positive"),
        ([*SMALL, "seed=-1"], "seed=-1: must not be negative"),
        ([*SMALL, f"seed={2**63}"], f"seed={2**63}: must be below 2^63"),
        (["federation.cleints=3"], "federation.cleints: there is no such key; did you mean"),
        ([*SMALL, "partition=by_identity"], "federation.clients=4: one person per client needs"),
        ([*SMALL, "--plot", "split.exe"], "--plot split.exe: cannot draw that format"),
        ([*SMALL, "--plot", "/nowhere/split.png"], "--plot /nowhere/split.png: No such file"),
        (
            ["task=face", "data=identity_folder"],
            "data.root: is missing; give it on the command line as data.root=...",
        ),
        (
            ["task=gaze", "data.people=9", "data.images_per_person=16", "partition=dirichlet"],
            "partition.over=label: data=synthetic_eyes has no classes",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(["partition", *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"fedpriv-data: {message}")
    assert said.count("\n") == 1
