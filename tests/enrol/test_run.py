"""Keys that the parties made themselves carry whole runs, each node with its own folder and no other."""

import shutil

import pytest

from fedpriv import cli
from fedpriv.apps import client_app, server_app
from fedpriv.config.as_json import to_json
from fedpriv.enrol.accept import accept
from fedpriv.enrol.collect import collect
from fedpriv.enrol.shared import make_shared_key
from fedpriv.enrol.terms import run_for
from fedpriv.federated.engines.launch import launch_inprocess
from fedpriv.he.provision import enrolment_file
from fedpriv.runner import run
from tests.conftest import TINY

CLIENTS = 4
SCHEMES = {
    "plain": (0, ["secure=none"]),
    "authority": (1, ["secure=bfv"]),
    "committee": (2, ["secure=bfv_committee", "secure.holders=2"]),
}


@pytest.fixture(params=SCHEMES)
def enrolled(request, federation, tmp_path):
    """Go the whole way; return the parties' folders, the server's, and the run's settings."""
    holders, secure = SCHEMES[request.param]
    overrides = [*TINY, *secure, "federation.rounds=1"]
    parties = federation(CLIENTS, holders)
    key = fingerprint = None
    if request.param == "authority":
        key, fingerprint = make_shared_key(parties[CLIENTS][0], run_for(overrides))
    collect([card for _, card in parties], overrides, fingerprint).save(tmp_path / "sent.json")
    for folder, _ in parties:
        accept(folder, tmp_path / "sent.json", None, overrides, key)
    server = tmp_path / "server"
    server.mkdir(mode=0o700)
    shutil.copy(tmp_path / "sent.json", enrolment_file(server))
    return [folder for folder, _ in parties], server, overrides


def test_every_node_with_its_own_folder_and_the_server_with_the_enrolment_alone(enrolled, tiny):
    folders, server, overrides = enrolled
    config = tiny(*overrides, f"secure.key_folder={server}")
    config.run_id = "ab" * 16
    text, outcomes = to_json(config), []

    def to_its_own_site(grid):
        for node, (context, folder) in enumerate(zip(grid.contexts, folders, strict=True)):
            context.node_config["key-folder"] = str(folder)
            if node >= CLIENTS:
                context.node_config["holder"] = node - CLIENTS

    launch_inprocess(
        server_app(text, (), outcomes.append),
        client_app(text),
        "fedpriv.apps:client_app",
        text,
        len(folders),
        0,
        1,
        to_its_own_site,
    )
    assert [result.replied for result in outcomes[0].history] == [0, CLIENTS]
    assert [path.name for path in server.iterdir()] == ["enrolment.json"]
    # keys decide who can read, not what is learned: sums are exact
    assert outcomes[0].parameters.tobytes() == run(tiny(*overrides)).parameters.tobytes()


def test_all_folders_in_one_place_are_a_key_folder(enrolled, tiny, tmp_path):
    folders, _, overrides = enrolled
    together = tmp_path / "together"
    for folder in folders:
        shutil.copytree(folder, together, dirs_exist_ok=True)
    report = run(tiny(*overrides, f"secure.key_folder={together}"))
    assert report.history[-1].replied == CLIENTS


@pytest.mark.parametrize("secure", [secure for _, secure in SCHEMES.values()], ids=str)
def test_all_made_in_one_place_serve_run_after_run(secure, tiny, tmp_path, capsys):
    overrides = [*secure, f"federation.clients={CLIENTS}"]
    cli.main(["enrol", "all", str(tmp_path / "trial"), *overrides])
    for seed in (0, 1):
        named = [*overrides, "federation.rounds=1", f"seed={seed}", f"secure.key_folder={tmp_path / 'trial'}"]
        assert run(tiny(*named)).history[-1].replied == CLIENTS
