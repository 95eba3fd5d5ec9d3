"""Of a folder with everybody's secrets the server opens one file, in a whole run."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, TINY

SCHEMES = ("none", "bfv", "bfv_committee")
SERVER = """
import json, os, sys
from pathlib import Path

folder, opened = "", set()

def hear(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if folder and path.startswith(folder):
            opened.add(os.path.relpath(path, folder))

from fedpriv.apps import client_app, server_app
from fedpriv.config.as_json import from_json, to_json
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.config.compose import compose_run
from fedpriv.federated.engines.launch import launch_inprocess
from fedpriv.he.provision import provision

sys.addaudithook(hear)
schemes, found = sys.argv[2].split(","), {}
for number, scheme in enumerate(schemes):
    config = compose_run(*sys.argv[3:], f"secure={scheme}")
    place = os.path.join(sys.argv[1], scheme)
    config.run_id, config.secure.key_folder = f"{number:02x}" * 16, place
    codec = codec_of(config)
    provision(Path(place), 4, codec, policy_of(config))
    text = to_json(config)
    outcomes = []
    opened.clear()
    folder = place
    launch_inprocess(
        server_app(text, (), outcomes.append), client_app(text), "fedpriv.apps:client_app", text,
        4 + codec.holders, 1, 1,
    )
    folder = ""
    found[scheme] = [sorted(opened), [result.replied for result in outcomes[0].history]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with one of keys for each scheme, and what one process opened there as the server of each."""
    folder = tmp_path_factory.mktemp("keys")
    for scheme in SCHEMES:
        (folder / scheme).mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(folder), ",".join(SCHEMES), *TINY, "federation.rounds=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_server_reads_the_enrolment_and_no_key(served, scheme):
    """Clients and key holders live in another process here, so what this one opens, the server opens."""
    folder, found = served
    opened, replied = found[scheme]
    assert opened == ["enrolment.json"]
    assert replied == [0, 4]
    assert (folder / scheme / "clients" / "0" / "signing.key").exists()  # there was something to find
