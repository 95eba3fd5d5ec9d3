from copy import deepcopy

import pytest
from omegaconf import OmegaConf

from fedpriv.config.compose import compose_run
from fedpriv.sweeps import keys
from fedpriv.sweeps.keys import job_key, sweep_key


@pytest.fixture(scope="module")
def composed():
    return compose_run("data=identity_folder", "data.root=faces", "task=face", "model=face_cnn")


def changed(config, dotted, value):
    other = deepcopy(config)
    OmegaConf.update(other, dotted, value)
    return job_key(other)


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("tracking.experiment", "other"),
        ("tracking.uri", "sqlite:///elsewhere.db"),
        ("tracking.run_name", "mine"),
        ("run_id", "0" * 32),
        ("first_run_id", "0" * 32),
        ("engine.workers", 3),
        ("engine.threads", 3),
        ("privacy.ledger", "/elsewhere"),
        ("secure.key_folder", "/elsewhere"),
        ("relays.images", 7),  # of relays that are not asked
    ],
)
def test_what_only_says_where_or_with_how_much_is_not_in_the_key(composed, dotted, value):
    assert changed(composed, dotted, value) == job_key(composed)


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("seed", 1),
        ("training.learning_rate", 0.051),
        ("privacy.epsilon", 3.0),
        ("engine.name", "ray"),
        ("federation.faults", ["0:silent"]),
        ("data.root", "other_faces"),
        ("relays.enabled", True),
        ("secure.keys", "committee"),
    ],
)
def test_what_is_computed_is_in_the_key(composed, dotted, value):
    assert changed(composed, dotted, value) != job_key(composed)


def test_a_relative_folder_of_data_is_the_folder_that_it_is(composed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert changed(composed, "data.root", str(tmp_path / "faces")) == job_key(composed)
    (tmp_path / "below").mkdir()
    here = job_key(composed)
    monkeypatch.chdir(tmp_path / "below")
    assert job_key(composed) != here


def test_a_number_written_in_two_ways_is_one_job():
    assert job_key(compose_run("privacy=dp_sgd", "privacy.epsilon=8")) == job_key(
        compose_run("privacy=dp_sgd", "privacy.epsilon=8.0")
    )


def test_an_infinite_epsilon_is_kept_apart_from_no_privacy_as_it_is_recorded_apart():
    assert job_key(compose_run("privacy=dp_sgd", "privacy.epsilon=inf")) != job_key(compose_run())


def test_hydras_own_settings_and_what_a_checkpoint_leaves_out_change_nothing():
    config = compose_run()
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    del plain["relays"]
    assert job_key(OmegaConf.create(plain)) == job_key(config)
    assert job_key(OmegaConf.create({**plain, "hydra": {"job": {"num": 3}}})) == job_key(config)


def test_another_version_is_another_job(monkeypatch):
    config = compose_run()
    before = job_key(config)
    monkeypatch.setattr(keys, "__version__", "0.0.0")
    assert job_key(config) != before
    assert len(before) == 32
    assert set(before) <= set("0123456789abcdef")


def test_a_sweep_is_its_kind_and_its_jobs_in_order():
    assert sweep_key("sweep", ["a", "b"]) == sweep_key("sweep", iter(["a", "b"]))
    others = {sweep_key("sweep", ["b", "a"]), sweep_key("search", ["a", "b"]), sweep_key("sweep", ["ab"])}
    assert len(others | {sweep_key("sweep", ["a", "b"])}) == 4


@pytest.fixture
def charged(tmp_path, monkeypatch):
    """Return the key of a private run that is charged to a ledger, in a state folder of the test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    private = compose_run("privacy=dp_sgd")
    return lambda ledger: changed(private, "privacy.ledger", ledger)


def test_a_private_run_that_another_ledger_was_charged_with_or_none_is_another_job(charged):
    assert len({charged("default"), charged(None), charged("/elsewhere")}) == 3


def test_a_ledger_is_the_folder_that_it_is_however_it_is_written(charged, tmp_path, monkeypatch):
    default = charged("default")
    (tmp_path / "link").symlink_to(tmp_path / "state", target_is_directory=True)
    for same in ("state/fedpriv/ledger", f"{tmp_path}/state/./fedpriv/ledger", "link/fedpriv/ledger"):
        assert charged(same) == default
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert charged("default") != default


@pytest.mark.parametrize("private", [[], ["privacy=dp_sgd", "privacy.epsilon=inf"]])
def test_where_nothing_is_charged_the_ledger_is_not_in_the_key(private):
    config = compose_run(*private)
    for ledger in (None, "/elsewhere"):
        assert changed(config, "privacy.ledger", ledger) == job_key(config)


def test_what_is_no_path_is_left_to_be_refused(charged):
    assert charged("~nobody-of-this-name/ledger") != charged("default")
