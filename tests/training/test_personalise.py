"""Models that clients make their own, against the same steps by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.config.as_json import to_json
from fedpriv.config.checks import check
from fedpriv.config.datasets import build_data, build_own, build_shares
from fedpriv.config.models import build_backbone
from fedpriv.config.training import build_personalisation
from fedpriv.errors import UserError
from fedpriv.federated.site import Site
from fedpriv.runner import run
from fedpriv.seeding import derive, generator
from fedpriv.tasks.gaze import GazeTask
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.personalise import last_layer

GROUP = "evaluation.personalise"
ON = (f"{GROUP}.enabled=true", f"{GROUP}.epochs=2")
NAME = "angular_error_deg"


def by_hand(config, client, vector, layers):
    """Return the client's error before and after two epochs of plain SGD with momentum."""
    text = to_json(config)
    task, training, _ = build_data(text)
    train, held_out = build_own(config, training)[client]
    model, judges = build_backbone(text), training.subset(held_out)
    FlatParameters(model).load(vector)
    before = task.evaluate(model, judges)[NAME]
    chosen = list(model.regressor[-1].parameters()) if layers == "head" else list(model.parameters())
    settings = config.training
    optimizer = torch.optim.Adam(chosen, lr=settings.learning_rate)
    images, targets = torch.from_numpy(np.array(training.images[train])), training.targets[train]
    shuffle = generator(derive(config.seed, "personalise", client), "batches")
    for _ in range(2):
        for batch in torch.from_numpy(shuffle.permutation(len(train))).split(settings.batch_size):
            inputs = images[batch].to(torch.float32).div_(127.5).sub_(1.0)
            loss = GazeTask().loss(model(inputs), torch.from_numpy(targets[batch.numpy()]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return before, task.evaluate(model, judges)[NAME]


@pytest.mark.parametrize("layers", ["all", "head"])
def test_figures_are_those_of_fine_tuning_each_client_by_hand(tiny, layers):
    config = tiny(*ON, f"{GROUP}.layers={layers}")
    report = run(config)
    pairs = [by_hand(config, client, report.parameters, layers) for client in range(4)]
    before, after = (sum(each) / 4 for each in zip(*pairs, strict=True))
    assert report.personal[f"personal_before_{NAME}"] == pytest.approx(before, rel=1e-6)
    assert report.personal[f"personal_after_{NAME}"] == pytest.approx(after, rel=1e-6)
    assert report.personal["personal_improved"] == sum(own < given for given, own in pairs) / 4
    assert before != after


def test_the_federation_and_clients_alone_never_train_on_an_image_that_judges(tiny, monkeypatch):
    import fedpriv.training.local as local

    seen = []
    batch = local.ClientData.batch

    def watched(self, chosen):
        images = batch(self, chosen)
        seen.extend(image.numpy().tobytes() for image in images)
        return images

    monkeypatch.setattr(local.ClientData, "batch", watched)
    for mode in ("federated", "local"):
        config = tiny(*ON, f"mode={mode}")
        training = build_data(to_json(config))[1]
        run(config)
        judges = {training.images[index].tobytes() for _, own in build_own(config, training) for index in own}
        assert len(judges) == 16
        assert not judges & set(seen)
        trained = [index for share in build_shares(config, training) for index in share]
        assert {training.images[index].tobytes() for index in trained} == set(seen)


def test_the_split_is_the_same_in_every_mode_and_with_every_privacy(tiny):
    splits = []
    for overrides in ((), ("mode=local",), ("privacy=dp_sgd",), ("secure=bfv", "federation.rounds=7")):
        config = tiny(*ON, *overrides)
        splits.append(build_own(config, build_data(to_json(config))[1]))
    for other in splits[1:]:
        for (train, held_out), (same, likewise) in zip(splits[0], other, strict=True):
            assert train.tobytes() == same.tobytes()
            assert held_out.tobytes() == likewise.tobytes()


def test_clients_alone_begin_with_their_own_models(tiny):
    config = tiny(*ON, "mode=local")
    report = run(config)
    text = to_json(config)
    from fedpriv.config.training import build_alone

    alone = build_alone(text)
    list(alone.train())
    pairs = [by_hand(config, k, party.parameters.read(), "all") for k, party in enumerate(alone.parties)]
    assert report.personal[f"personal_before_{NAME}"] == pytest.approx(
        np.mean([p[0] for p in pairs]), rel=1e-6
    )
    assert report.personal[f"personal_after_{NAME}"] == pytest.approx(
        np.mean([p[1] for p in pairs]), rel=1e-6
    )


def test_the_head_is_the_layer_that_makes_the_outputs_and_all_else_stays(tiny):
    personalisation = build_personalisation(to_json(tiny(*ON, f"{GROUP}.layers=head")))
    model = personalisation.backbone
    start = [parameter.detach().clone() for parameter in model.parameters()]
    personalisation.adapt(0, personalisation.own[0][0])
    changed = [
        name
        for (name, parameter), before in zip(model.named_parameters(), start, strict=True)
        if not torch.equal(parameter, before)
    ]
    assert changed == ["regressor.4.weight", "regressor.4.bias"]
    with pytest.raises(UserError, match="layers=head: the model has a single layer"):
        last_layer(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))


def test_an_epsilon_is_that_of_the_images_that_were_trained_on(tiny):
    """A client's plan is of what it trains on; what judges is in no ledger."""
    config = tiny(*ON, "privacy=dp_sgd", "training.batch_size=8")
    text = to_json(config)
    training = build_data(text)[1]
    sizes = {len(share) for share in build_shares(config, training)}
    assert sizes == {12}
    from fedpriv.config.parties import build_site

    site = build_site(text)
    assert isinstance(site, Site)
    assert {site.plan(client).examples for client in range(4)} == sizes
    assert {len(site.data(client)) for client in range(4)} == sizes


def test_without_it_nothing_is_held_out(tiny):
    config = tiny()
    training = build_data(to_json(config))[1]
    assert sum(map(len, build_shares(config, training))) == len(training)
    assert build_personalisation(to_json(config)) is None
    assert run(config).personal is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([f"{GROUP}.epochs=3"], f"{GROUP}.epochs=3.0: has no effect; add {GROUP}.enabled=true"),
        ([f"{GROUP}.layers=head"], f"{GROUP}.layers=head: has no effect"),
        ([*ON, "mode=centralized"], f"{GROUP}.enabled=true: mode=centralized has no clients"),
        ([*ON, f"{GROUP}.test_share=1"], f"{GROUP}.test_share=1.0: must lie between 0 and 1"),
        ([*ON, f"{GROUP}.test_share=nan"], f"{GROUP}.test_share=nan: must lie between 0 and 1"),
        ([*ON, f"{GROUP}.epochs=0"], f"{GROUP}.epochs=0.0: must be positive and finite"),
        ([*ON, f"{GROUP}.learning_rate=inf"], f"{GROUP}.learning_rate=inf: must be positive and finite"),
        (
            [*ON, "data.images_per_person=1"],
            f"{GROUP}.test_share=0.25: client 0 has no two images of one person",
        ),
        (
            [*ON, "task=face", "model=face_cnn", "data=synthetic_patterns", "data.size=20"],
            f"{GROUP}.enabled=true: FaceTask is judged by pairs of people",
        ),
    ],
)
def test_what_is_impossible_or_means_nothing_is_refused_in_one_line(tiny, overrides, said):
    with pytest.raises(UserError) as caught:
        check(tiny(*overrides))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_diverging_client_is_named(tiny):
    with pytest.raises(UserError, match=r"client 0: its own model is not finite; lower evaluation\.personal"):
        run(tiny(*ON, "training.optimizer=sgd", "federation.rounds=1", f"{GROUP}.learning_rate=1e30"))
