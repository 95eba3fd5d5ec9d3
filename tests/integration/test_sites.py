"""docs/sites.md: its commands are run one after the other, and the folders hold what its table says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fedpriv import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sites.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line
]
ENROL = [command for command in COMMANDS if command.startswith("fedpriv enrol ")]
RUN = [command for command in COMMANDS if command.startswith("fedpriv run ")]


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def walked(tmp_path, monkeypatch):
    """Walk the whole page but for the run."""
    monkeypatch.chdir(tmp_path)
    for command in ENROL:
        cli.main(shlex.split(command)[1:])
    return tmp_path


def test_every_command_is_of_a_kind_that_these_tests_run():
    assert ENROL + RUN == COMMANDS
    assert {command.split()[2] for command in ENROL} == {
        "party",
        "shared-key",
        "collect",
        "accept",
        "show",
        "all",
    }
    assert len(RUN) == 1


def test_the_page_leads_every_party_to_the_same_enrolment(walked):
    for folder, role in (("north", "clients/0"), ("east", "clients/2"), ("court", "keyholders/1")):
        kind, number = role.split("/")
        card = f"{'client' if kind == 'clients' else 'holder'}-{number}.card.json"
        assert files(walked / folder) == {"enrolment.json", f"{role}/signing.key", card}
    placed = {
        (walked / name / "enrolment.json").read_bytes()
        for name in ("north", "south", "east", "notary", "court")
    }
    assert placed == {(walked / "enrolment.json").read_bytes()}
    assert files(walked / "registry") >= {"keyholders/0/signing.key", "keyholders/0/shared.key"}


def test_what_it_says_of_one_key_holder_works_as_it_stands(walked):
    """The command in the text, once the clinics have enrolled with the registry instead of the committee."""
    command = re.search(r"`(fedpriv enrol accept [^`]*--shared-key[^`]*)`", PAGE)[1]
    key = walked / "registry" / "keyholders" / "0" / "shared.key"
    (walked / "shared.key").write_bytes(key.read_bytes())
    (walked / "shared.key").chmod(0o600)
    (walked / "north" / "enrolment.json").unlink()
    (walked / "enrolment.json").unlink()
    fingerprint = shared_fingerprint(walked)
    cards = [*sorted(map(str, walked.glob("[nse]*/client-*.card.json"))), "registry/holder-0.card.json"]
    cli.main(
        ["enrol", "collect", "enrolment.json", *cards, "secure=bfv", "--shared-key-fingerprint", fingerprint]
    )
    cli.main(shlex.split(command)[1:])
    assert (walked / "north" / "clients" / "0" / "shared.key").read_bytes() == key.read_bytes()


def shared_fingerprint(folder):
    """Of the key that the page's command made, from the key itself."""
    from fedpriv.config.secure import codec_of
    from fedpriv.enrol.terms import run_for

    codec = codec_of(run_for(["secure=bfv", "federation.clients=3"]))
    return codec.with_key_folder(folder / "registry" / "keyholders" / "0")._secret_key.fingerprint


@pytest.mark.slow
def test_the_trial_ends_with_the_table(walked):
    # less than a minute of training: here only a taste of it
    taste = "data.people=8 evaluation.test_subjects=2 federation.rounds=1 engine.workers=0"
    done = subprocess.run(
        shlex.split(f"{RUN[0]} {taste}"),
        cwd=walked,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Run summary" in done.stdout


def test_the_pages_that_it_names_are_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
