"""Of a folder with everybody's secrets the server opens one file, in a whole run."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, TINY

SERVER = """
import json, os, sys
from pathlib import Path

folder = sys.argv[1]
opened = set()

def hear(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(folder):
            opened.add(os.path.relpath(path, folder))

from fedpriv.apps import client_app, server_app
from fedpriv.config.as_json import from_json, to_json
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.config.compose import compose_run
from fedpriv.federated.engines.launch import launch_inprocess
from fedpriv.he.provision import provision

config = compose_run(*sys.argv[2:])
config.run_id, config.secure.key_folder = "ab" * 16, folder
codec = codec_of(config)
provision(Path(folder), 4, codec, policy_of(config))
text = to_json(config)
outcomes = []
sys.addaudithook(hear)
launch_inprocess(
    server_app(text, (), outcomes.append), client_app(text), "fedpriv.apps:client_app", text,
    4 + codec.holders, 1, 1,
)
print(json.dumps([sorted(opened), [result.replied for result in outcomes[0].history]]))
"""


@pytest.mark.parametrize("scheme", ["none", "bfv", "bfv_committee"])
def test_the_server_reads_the_enrolment_and_no_key(tmp_path, scheme):
    """Clients and key holders live in another process here, so what this one opens, the server opens."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    overrides = [*TINY, f"secure={scheme}", "federation.rounds=1"]
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(folder), *overrides],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    opened, replied = json.loads(done.stdout.splitlines()[-1])
    assert opened == ["enrolment.json"]
    assert replied == [0, 4]
    assert (folder / "clients" / "0" / "signing.key").exists()  # there was something to find
