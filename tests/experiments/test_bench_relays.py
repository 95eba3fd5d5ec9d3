"""The relays benchmark: real services, every figure there, and what is wrong or missing counted as lost."""

import asyncio
import dataclasses
import json

import numpy as np
import pytest

from experiments.bench import _load, relays
from fedpriv import cli
from fedpriv.relays.client import Unanswered
from fedpriv.relays.plan import Plan
from fedpriv.serving.answers import KINDS
from fedpriv.serving.defaults import load_models
from fedpriv.serving.model_set import ModelSet
from tests.relays.running import Running

ARGUMENTS = ["bench", "relays", "--json", "--seconds", "0.4", "--repeats", "2", "--in-flight", "8"]


@pytest.fixture(scope="module")
def found():
    """What the command prints last."""
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, file=None, **_: file or lines.append(words[0]))
        cli.main(ARGUMENTS)
    return json.loads(lines[-1])


def test_every_image_is_answered_rightly_and_inferred_once(found):
    assert (found["lost"], found["direct_lost"]) == (0, 0)
    assert found["inferred_images_per_image"] == 1
    assert found["images"] > 0
    assert found["direct_images"] > 0


def test_every_figure_is_there(found):
    assert (found["n_relays"], found["shares"], found["scheme"]) == (4, 3, "additive")
    assert (found["in_flight"], found["seconds"], found["repeats"]) == (8, 0.4, 2)
    for prefix in ("", "direct_"):
        assert found[f"{prefix}images_per_s"] > 0
        assert 0 < found[f"{prefix}p50_ms"] <= found[f"{prefix}p95_ms"]
        assert found[f"{prefix}unloaded_p50_ms"] > 0
    assert len(found["slice_ratios"]) == 2
    for way in relays.WAYS:
        assert set(found["cpu_us_per_image"][way]) == {"client", "relays", "model_server", "all"}
        assert found["cpu_us_per_image"][way]["all"] > 0
    assert set(found["protocol_us"]) == {"seal", "accept", "answer", "sharing", "aead", "inference"}
    assert all(value > 0 for value in found["protocol_us"].values())


def test_bytes_are_those_of_three_envelopes_whoever_counts_them(found):
    traffic = found["bytes_per_image"]
    assert traffic["least"] == 3 * found["payload_bytes"]
    assert traffic["direct"] == found["payload_bytes"]
    assert traffic["pixels"] == 36 * 60
    # the client, the relays and the model server count for themselves; nothing was sent twice
    assert traffic["client_sent"] == traffic["relays_took"] == traffic["model_server_took"]
    assert traffic["client_received"] == 3 * 514  # a record for each, whenever it came
    assert traffic["least"] < traffic["client_sent"] < 1.05 * traffic["least"]
    # one batch of envelopes at most for each share, and every image needs some request
    for hop in ("to_relays", "to_model_server"):
        assert 0 < found["requests_per_image"][hop] <= 3


def test_a_wrong_answer_of_the_model_server_is_counted_as_lost(tmp_path, monkeypatch):
    images = list(np.random.default_rng(3).integers(0, 256, (6, 36, 60), dtype=np.uint8))
    expected = load_models().answer(images, [KINDS] * len(images))
    right, wrong = ModelSet.answer, images[2]

    def off(models, asked, wanted):
        """Answers that are right but for one image, whose pitch is off by the last decimal."""
        answers = right(models, asked, wanted)
        return [
            dataclasses.replace(said, gaze=dataclasses.replace(said.gaze, pitch=said.gaze.pitch + 1e-6))
            if np.array_equal(image, wrong)
            else said
            for image, said in zip(asked, answers, strict=True)
        ]

    async def loaded(client):
        async with client:
            return [
                await _load.load(client.ask, [image], [answer], 0.01, 1)
                for image, answer in zip(images, expected, strict=True)
            ]

    with Running(tmp_path / "constellation", Plan(relays=2, shares=2)) as running:
        monkeypatch.setattr(ModelSet, "answer", off)
        loads = asyncio.run(loaded(running.client()))
    assert [(each.images > 0, each.lost > 0) for each in loads] == [(i != 2, i == 2) for i in range(6)]


def test_an_image_without_an_answer_is_lost_and_the_others_go_on():
    async def never(_):
        await asyncio.sleep(0.01)
        raise Unanswered("unreachable", "no relay has answered")

    found = asyncio.run(_load.load(never, [np.zeros((1, 1), np.uint8)], [None], 0.05, 3))
    assert found.images == 0
    assert found.lost >= 3
    assert found.latencies == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["relays", "--seconds", "0"], "--seconds 0: give 0.1 to 3600"),
        (["relays", "--seconds", "nan"], "--seconds nan: give"),
        (["relays", "--in-flight", "129"], "--in-flight 129: give 1 to 128"),
        (["engine", "--in-flight", "8"], "--in-flight: the benchmark engine has none"),
        (["relays", "--schemes", "bfv"], "--schemes: the benchmark relays has none"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, named, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", *arguments])
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
