"""In a deployment the configuration is the server's word: it cannot go below what the enrolment demands."""

import copy
import json
import shutil

import pytest
import yaml
from flwr.app import Message, RecordDict

from fedpriv.apps import client_app
from fedpriv.config import datasets, parties
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.client_app import make_client_app
from fedpriv.federated.engines.inprocess import FIRST_NODE_ID, InProcessGrid, SerialExecutor
from fedpriv.he.provision import enrolment_file, provision
from fedpriv.runner import run
from tests.conftest import TINY

AGREED = (
    "secure=bfv_committee",
    "secure.holders=2",
    "secure.min_clients=3",
    "federation.min_replies=3",
    "privacy=client_level",
)
WEAKER = {
    "secure.scheme=plain": "secure.scheme = bfv",
    "secure.scheme=ckks": "secure.scheme = bfv",
    "secure.keys=authority": "secure.keys = committee",
    "secure.holders=3": "secure.holders = 2",
    "secure.min_clients=2": "secure.min_clients >= 3",
    "secure.smudging_bits=8": "secure.smudging_bits >= ",
    "secure.select=[convolutions.*]": "secure.select = null and secure.select_top = null",
    "secure.select_top=0.5": "secure.select = null and secure.select_top = null",
    "privacy.unit=none": "privacy.unit = client",
    "privacy.unit=sample": "privacy.unit = client",
    "privacy.noise=fast": "privacy.noise = secure",
    "privacy.noise_by=server": "privacy.noise_by = clients",
    "privacy.epsilon=80": "privacy.epsilon <= 8",
    "privacy.epsilon=null": "privacy.epsilon <= 8",
    "privacy.delta=0.01": "privacy.delta <= 1e-05",
    "privacy.delta=null": "privacy.delta <= 1e-05",
}
STRONGER = (
    "secure.min_clients=4",
    "secure.smudging_bits=57",
    "privacy.epsilon=4",
    "privacy.delta=0.000001",
    "federation.min_replies=4",
)
PARTIES = {
    "client": parties.build_site,
    "key holder": lambda text: parties.build_keyholder(text, 0),
    "maker of keys": lambda text: parties.build_key_maker(text, 0),
    "server": parties.build_server_plan,
}


@pytest.fixture(scope="module")
def agreed(tmp_path_factory):
    """Enrol four clients and two key holders on the agreed terms: their folder, and the configuration."""
    folder = tmp_path_factory.mktemp("keys")
    folder.chmod(0o700)
    config = compose_run(*TINY, *AGREED)
    provision(folder, 4, codec_of(config), policy_of(config))
    config.run_id, config.secure.key_folder = "ab" * 16, str(folder)
    return folder, json.loads(to_json(config))


def said(plain, *overrides, **more):
    """Return what a server says instead: the configuration as JSON, changed."""
    changed = copy.deepcopy(plain)
    for override in overrides:
        name, value = override.split("=")
        group, field = name.split(".")
        assert field in changed[group]
        changed[group][field] = yaml.safe_load(value)
    changed["secure"] |= more
    return json.dumps(changed)


@pytest.fixture
def alarmed(agreed, tmp_path, monkeypatch):
    """Let nobody get at keys or images unnoticed: there are no keys, and loading images fails."""
    folder, plain = agreed
    shutil.copy(enrolment_file(folder), enrolment_file(tmp_path))

    def alarm(text):
        raise AssertionError("loaded the images")

    monkeypatch.setattr(datasets, "_load", alarm)
    return tmp_path, lambda *overrides: said(plain, *overrides, key_folder=str(tmp_path))


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("override", WEAKER)
def test_nobody_takes_part_on_weaker_terms(alarmed, party, override):
    """The refusal comes before a key is read or an image loaded."""
    folder, says = alarmed
    with pytest.raises(UserError) as refused:
        PARTIES[party](says(override))
    line = str(refused.value)
    assert line.startswith(f"{enrolment_file(folder)}: the enrolment demands {WEAKER[override]}")
    assert "the run's configuration says" in line
    assert "\n" not in line


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("overrides", [(), STRONGER], ids=["as agreed", "stronger"])
def test_everybody_takes_part_as_agreed_and_on_stronger_terms(agreed, party, overrides):
    text = said(agreed[1], *overrides)
    if party == "key holder":
        # its share of the key comes later, so what is missing is the next thing after the policy
        with pytest.raises(UserError, match=r"share\.key"):
            PARTIES[party](text)
    else:
        assert PARTIES[party](text)


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (0, messages.DESCRIBE),
        (0, messages.TRAIN),
        (0, messages.SENSITIVITY),
        (4, messages.KEYS),
        (4, messages.OPEN),
    ],
)
@pytest.mark.parametrize("override", ["secure.scheme=plain", "secure.min_clients=2"])
def test_the_server_learns_no_more_than_that_a_party_is_misconfigured(alarmed, caplog, node, kind, override):
    grid = InProcessGrid(SerialExecutor(client_app(alarmed[1](override))), nodes=6)
    if node == 4:
        grid.contexts[node].node_config["holder"] = 0  # as on real sites, where it is no client's process
    (reply,) = grid.send_and_receive([Message(RecordDict(), FIRST_NODE_ID + node, kind)])
    assert list(reply.content) == ["status"]
    assert dict(reply.content["status"]) == {"outcome": "failed", "cause": "misconfigured"}
    assert f"the enrolment demands {WEAKER[override]}" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_simulation_with_a_folder_of_keys_keeps_to_what_was_agreed(tiny, tmp_path):
    tmp_path.chmod(0o700)
    terms = ("secure=bfv", "secure.min_clients=3", "federation.min_replies=3", "federation.rounds=1")
    agreed = tiny(*terms)
    provision(tmp_path, 4, codec_of(agreed), policy_of(agreed))
    named = (*terms, f"secure.key_folder={tmp_path}")
    assert run(tiny(*named)).history[-1].replied == 4
    assert run(tiny(*named, "secure.min_clients=4", "federation.min_replies=4")).history[-1].replied == 4
    with pytest.raises(UserError, match=r"demands secure\.min_clients >= 3, the run's configuration says 2"):
        run(tiny(*named, "secure.min_clients=2"))


def test_where_its_keys_are_is_the_partys_own_word():
    """Else a server could name another federation's folder on the same machine, enrolled on weaker terms."""
    seen = []

    def build_site(text):
        seen.append(json.loads(text))
        raise UserError("seen enough")

    servers = {"seed": 1, "secure": {"scheme": "plain", "key_folder": "/the/servers"}}
    app = make_client_app(build_site, lambda *_: None, lambda *_: None, config=json.dumps(servers))
    grid = InProcessGrid(SerialExecutor(app), nodes=2)
    grid.contexts[0].node_config["key-folder"] = "/my/own"
    for node in (0, 1):
        (_,) = grid.send_and_receive([Message(RecordDict(), FIRST_NODE_ID + node, messages.TRAIN)])
    own = {
        **servers,
        "secure": {**servers["secure"], "key_folder": "/my/own"},
        "privacy": {"ledger": "default"},
    }
    assert seen == [own, servers]
