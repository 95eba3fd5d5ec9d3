"""Images that a client has several times: epsilon protects each copy by itself, and a private run says so."""

import logging

import numpy as np
import pytest
from PIL import Image

from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.ledger import said_of_shares
from fedpriv.config.parties import build_site
from fedpriv.federated import messages
from fedpriv.federated.client_app import CONFIG_KEY, make_client_app
from fedpriv.federated.engines.inprocess import InProcessGrid, SerialExecutor
from fedpriv.federated.messages import Description
from fedpriv.runner import run
from tests.conftest import TINY
from tests.federated.test_client_app import ask

DP = ("privacy=dp_sgd", "privacy.epsilon=6", "training.batch_size=8")


@pytest.fixture
def faces(tmp_path):
    """Six people; one image of each of two of them is there twice, under another name."""
    random = np.random.default_rng(0)
    for person in range(6):
        folder = tmp_path / "faces" / f"p{person}"
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = Image.fromarray(random.integers(0, 256, (28, 28), dtype=np.uint8))
            pixels.save(folder / f"{number}.png")
            if number == 0 and person in (1, 2):
                pixels.save(folder / "again.png")
    small = [override for override in TINY if not override.startswith(("task=", "data."))]
    known = ["task=face", "data=identity_folder", f"data.root={tmp_path / 'faces'}", "seed=3"]
    sizes = ["data.height=28", "data.width=28", "federation.clients=2", "evaluation.pictures=0"]
    return lambda *overrides: compose_run(*small, *known, *sizes, "task.max_pairs=20", *overrides)


def said(caplog):
    return [record.getMessage() for record in caplog.records if "more than once" in record.getMessage()]


@pytest.mark.parametrize("mode", ["federated", "centralized"])
def test_a_simulation_says_once_before_it_trains_how_many_images_of_how_many_clients(faces, caplog, mode):
    config = faces(*DP, f"mode={mode}", "federation.rounds=1")
    found = said_of_shares(to_json(config))
    with caplog.at_level(logging.WARNING):
        run(config)
    assert said(caplog) == [found]
    assert found.endswith(
        "epsilon protects each copy by itself, all copies of an image together less; keep one of each"
    )
    assert found.split(" of ")[0] in ("1 image", "2 images")


@pytest.mark.parametrize(
    "overrides", [(), (*DP, "privacy.ledger=null"), ("privacy=client_level", "secure=bfv")]
)
def test_where_no_epsilon_is_of_single_images_or_no_ledger_knows_them_nothing_is_said(faces, overrides):
    assert said_of_shares(to_json(faces(*overrides))) is None


def test_nothing_is_said_where_nothing_stands_twice(tiny):
    assert said_of_shares(to_json(tiny(*DP))) is None


def test_a_client_of_real_sites_says_it_in_its_own_log_of_its_own_images(faces, caplog):
    config = faces(*DP)
    config.run_id = "ab" * 16
    text = to_json(config)
    site = build_site(text)
    repeated = {client: site.examples(client).repeated for client in range(2)}
    assert max(repeated.values()) > 0
    nobody = lambda text, number: None  # noqa: E731
    grid = InProcessGrid(SerialExecutor(make_client_app(build_site, nobody, nobody)), nodes=2)
    for client, copies in repeated.items():
        grid.contexts[client].run_config[CONFIG_KEY] = text
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            content = ask(grid, client, messages.DESCRIBE)
        assert Description.from_content(content).number == client
        lines = said(caplog)
        assert len(lines) == (copies > 0)
        assert all(line.startswith(f"{copies} image") and " of 1 client " in line for line in lines)
