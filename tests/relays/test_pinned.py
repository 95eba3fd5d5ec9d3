"""A registered model is looked up once: what an alias stands for later does not change a plan."""

import json

import numpy as np
import pytest
import torch

from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.errors import UserError
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.relays.command import main
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.keys import make_folder
from fedpriv.relays.model_server import build_model_server
from fedpriv.relays.pinned import pin, require_pinned
from fedpriv.relays.plan import Plan
from fedpriv.relays.settings import ModelServerSettings
from fedpriv.serving.loading import load_model
from fedpriv.serving.weights import SHIPPED
from fedpriv.tracking.mlflow_logger import RunLogger
from fedpriv.tracking.registry import register
from tests.conftest import TINY

STATEMENT = {
    **dict.fromkeys(("epsilon", "delta", "accountant", "relation", "noise")),
    "unit": "none",
    "data": "synthetic_eyes",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory, database):
    """Two versions of a registered model: (MLflow's address, ids of the runs)."""
    folder = tmp_path_factory.mktemp("registered")
    uri = database(folder / "mlflow.db")
    config = json.loads(to_json(compose_run(*TINY)))
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with RunLogger.start(uri, "relays", None, None, config, seed) as logger:
            logger.log_model(GazeCNN((1, 36, 60)), np.zeros((1, 1, 36, 60), np.float32), STATEMENT)
            runs.append(logger.run_id)
    return uri, runs


@pytest.fixture
def registered(store, request):
    """Register both under a name of the test's own, the first as its champion; return the name."""
    uri, runs = store
    name = request.node.name
    register(uri, runs[0], name, "champion")
    register(uri, runs[1], name)
    return name


def test_an_alias_stands_for_the_version_that_it_was_when_the_plan_was_made(store, registered, tmp_path):
    uri, runs = store
    folder = tmp_path / "relays"
    pinned = pin([f"{registered}@champion"], uri, folder)
    digest = load_model(f"models:/{registered}/1", uri).digest
    assert pinned.sources == (f"models:/{registered}/1",)
    assert pinned.digests == {f"models:/{registered}/1": digest}
    assert pinned.lines == (f"gaze: models:/{registered}/1 ({registered}@champion), digest {digest[:16]}",)
    layout = make_folder(folder, Plan(models=pinned.sources, digests=pinned.digests, tracking_uri=uri))
    register(uri, runs[1], registered, "champion")
    assert load_model(f"{registered}@champion", uri).digest != digest
    settings = ModelServerSettings.read(layout.settings("model_server"))
    assert (settings.models, settings.digests) == (pinned.sources, pinned.digests)
    build_model_server(settings)
    # a new plan takes what the alias is now
    assert pin([f"{registered}@champion"], uri, folder).sources == (f"models:/{registered}/2",)


def test_the_newest_version_is_pinned_and_other_sources_are_left_as_they_are(store, registered, tmp_path):
    uri, runs = store
    sources = [str(SHIPPED / "gaze.npz"), f"models:/{registered}", runs[0], str(tmp_path)]
    pinned = pin(sources, uri, tmp_path)
    assert pinned.sources == (sources[0], f"models:/{registered}/2", *sources[2:])
    assert list(pinned.digests) == [f"models:/{registered}/2"]


def test_a_version_that_is_another_model_now_is_refused_in_one_line(store, registered, tmp_path):
    """A registered model that is deleted and made again counts its versions from one."""
    from mlflow import MlflowClient

    uri, runs = store
    pinned = pin([f"{registered}@champion"], uri, tmp_path / "relays")
    plan = Plan(models=pinned.sources, digests=pinned.digests, tracking_uri=uri)
    layout = make_folder(tmp_path / "relays", plan)
    MlflowClient(uri, registry_uri=uri).delete_registered_model(registered)
    register(uri, runs[1], registered, "champion")
    said = rf"^models:/{registered}/1: its digest is [0-9a-f]{{16}}, the settings were made with "
    for start in (
        lambda: build_model_server(ModelServerSettings.read(layout.settings("model_server"))),
        lambda: pin([f"{registered}@champion"], uri, tmp_path / "relays"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            start()
        assert "\n" not in str(caught.value)
    assert pin([f"{registered}@champion"], uri, tmp_path / "another").sources == pinned.sources


def test_settings_without_digests_or_damaged_ones_pin_nothing(store, registered, tmp_path):
    uri, _ = store
    for text in ("{}", "{", json.dumps({"digests": {f"models:/{registered}/1": 3}})):
        (tmp_path / "model_server.json").write_text(text)
        assert pin([f"models:/{registered}/1"], uri, tmp_path).sources == (f"models:/{registered}/1",)
    require_pinned([load_model(f"models:/{registered}/1", uri)], {})


def test_up_prints_and_starts_the_version(store, registered, tmp_path, monkeypatch, capsys):
    """Without processes: what is planned is what is looked at."""
    uri, _ = store
    plans = []

    class Planned(Constellation):
        def start(self):
            plans.append(self.plan)
            self.layout = make_folder(self._folder, self.plan)

        def pid(self, service):
            return 0

        def ended(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("fedpriv.relays.command.Constellation", Planned)
    monkeypatch.setattr("fedpriv.relays.command.signal.signal", lambda *_: None)
    arguments = ["up", "--gaze", f"{registered}@champion", "--tracking-uri", uri]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main([*arguments, "--folder", str(tmp_path / "relays")])
    (plan,) = plans
    assert plan.models == (f"models:/{registered}/1",)
    assert f"gaze: models:/{registered}/1 ({registered}@champion), digest " in capsys.readouterr().out
