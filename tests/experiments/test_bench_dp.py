import json

import pytest

from experiments.bench import dp, main


@pytest.fixture(scope="module")
def found():
    dp.STEPS, kept = 2, dp.STEPS
    try:
        return dp.measure(repeats=1)
    finally:
        dp.STEPS = kept


def test_every_way_takes_time_and_the_ratio_is_that_of_the_private_step_to_the_plain_one(found):
    for way in ("plain", "dp", "fast_noise", "hooks", "opacus"):
        assert found[f"{way}_step_ms"] > 0
    ratio = found["dp_step_ms"] / found["plain_step_ms"]
    # what is printed is rounded
    assert found["paired_ratios"] == [found["ratio"]]
    assert found["ratio"] == pytest.approx(ratio, rel=0.01)
    assert 0 < found["secure_noise_share"] < 1


def test_all_private_ways_train_the_same_model_but_for_its_noise(monkeypatch):
    """So that their times are of the same work: with the noise off, on equal samples, equal weights."""
    import torch

    from fedpriv.models.gaze_cnn import GazeCNN
    from fedpriv.privacy.noise import FastSource
    from fedpriv.privacy.plan import SamplePlan
    from fedpriv.training.data import client_data
    from fedpriv.training.local import LocalSettings, train_private

    task, dataset = dp._gaze()
    data = client_data(task, dataset)
    settings = LocalSettings(learning_rate=0.01, momentum=0.0, batch_size=dp.BATCH)
    # one step: the noise of ours, drawn though it is zero, would shift the samples of a second
    plan = SamplePlan(dp.EXAMPLES, dp.BATCH / dp.EXAMPLES, 1, 0.0, dp.CLIP, 1e-5, None)
    monkeypatch.setattr(task, "augment", lambda images, _: images)
    trained = []
    for way in ("auto", "opacus", None):
        torch.manual_seed(0)
        model = GazeCNN(dataset.image_shape)
        if way is None:
            dp._opacus(task, model, data, settings, plan)
        else:
            train_private(task, model, None, data, settings, plan, FastSource(0), gradients=way)
        trained.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(trained[0], trained[2], rtol=1e-3, atol=1e-5)


def test_the_command_prints_one_object_last(found, monkeypatch, capsys):
    monkeypatch.setattr(dp, "measure", lambda repeats: {**found, "repeats": repeats})
    main(["dp", "--json", "--repeats", "3"])
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["repeats"] == 3
    assert {"plain_step_ms", "dp_step_ms", "ratio", "secure_noise_share"} <= set(printed)
