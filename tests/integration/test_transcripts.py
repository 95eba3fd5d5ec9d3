"""Where a run keeps what its key holders did: in its output folder, from the first round on."""

import hashlib
import json
import stat
from pathlib import Path

import pytest

from fedpriv import run_keys
from fedpriv.config.compose import compose_run
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.errors import UserError
from fedpriv.he import provision
from fedpriv.he.identity import SigningKey
from fedpriv.he.transcript import Transcript
from fedpriv.run_keys import key_folder
from fedpriv.runner import run
from tests.conftest import TINY
from tests.integration import cut_off

LONGER = (*TINY, "federation.rounds=4")


def events(path):
    """Return (event, round) of each line, once the chain has been checked by hand."""
    previous, found = "0" * 64, []
    for line in path.read_bytes().splitlines(keepends=True):
        entry = json.loads(line)
        assert entry["previous"] == previous
        previous = hashlib.sha256(line).hexdigest()
        found.append((entry["event"], entry.get("round")))
    head = json.loads(path.with_name(f"{path.name}.head").read_bytes())
    assert (head["lines"], head["sha256"]) == (len(found), previous)
    return found


@pytest.fixture(scope="module")
def kill():
    return cut_off.kill


@pytest.mark.parametrize(("secure", "holders"), [("bfv", 1), ("bfv_committee", 3)])
def test_a_run_killed_in_its_second_round_leaves_the_transcripts_of_the_first(
    tmp_path, secure, holders, kill
):
    """By SIGKILL of its process; its keys, in memory, are not beside them."""
    kill(tmp_path, 2, 2, *LONGER, f"secure={secure}")
    folder = tmp_path / "transcripts"
    key = [("key", None)] if secure == "bfv_committee" else []
    for number in range(holders):
        assert events(folder / f"holder-{number}.jsonl") == [*key, ("release", 1), ("answer", 1)]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 2 * holders
    assert [file for file in tmp_path.rglob("*.key*") if file.is_file()] == []


def test_the_transcripts_of_a_run_are_signed_by_its_holders(tiny, tmp_path):
    """Read with the key that the run had, and with no other."""
    config = tiny("secure=bfv_committee")
    with key_folder(config, tmp_path) as keys:
        for number in range(3):
            party = provision.keyholder_folder(Path(keys), number)
            signer = SigningKey.load(provision.signing_key_file(party))
            Transcript(provision.transcript_file(party), signer).claim(bytes(16), 1, [0], [b""])
            path = tmp_path / "transcripts" / f"holder-{number}.jsonl"
            assert Transcript(path, signer).answered(bytes(16), 1)
            with pytest.raises(UserError, match="not signed by this key holder"):
                Transcript(path, SigningKey.generate()).answered(bytes(16), 1)
    assert events(path) == [("release", 1)]


def test_the_transcripts_of_a_folder_of_the_users_stay_there_and_are_copied(tmp_path):
    keys, config = tmp_path / "keys", compose_run(*TINY, "secure=bfv", "federation.rounds=1")
    keys.mkdir(mode=0o700)
    provision.provision(keys, config.federation.clients, codec_of(config), policy_of(config))
    own = keys / "keyholders" / "0" / "transcript.jsonl"
    for name in ("first", "second"):
        overrides = (*TINY, "secure=bfv", "federation.rounds=1", f"secure.key_folder={keys}")
        run(compose_run(*overrides), output_dir=tmp_path / name)
        assert not own.is_symlink()
        copy = tmp_path / name / "transcripts" / "holder-0.jsonl"
        assert copy.read_bytes() == own.read_bytes()
    assert events(own) == [("release", 1), ("answer", 1)] * 2


def test_a_run_without_key_holders_keeps_no_folder_of_transcripts(tiny, tmp_path):
    with key_folder(tiny(), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_committees_shares_are_gone_after_the_last_round_whoever_runs_the_holders(tiny, monkeypatch):
    """On real sites nobody but the holder itself can delete its share."""
    kept, forget = [], run_keys._forget_shares

    def look(folder, holders):
        kept.append([path.name for path in folder.rglob("*share*")])
        forget(folder, holders)

    monkeypatch.setattr(run_keys, "_forget_shares", look)
    run(tiny("secure=bfv_committee"))
    assert kept == [[]]


def test_a_second_run_with_the_same_folder_of_keys_is_refused(tmp_path):
    keys, config = tmp_path / "keys", compose_run(*TINY, "secure=bfv_committee")
    keys.mkdir(mode=0o700)
    provision.provision(keys, config.federation.clients, codec_of(config), policy_of(config))
    named = compose_run(*TINY, "secure=bfv_committee", f"secure.key_folder={keys}")
    refused = pytest.raises(UserError, match="another run is using it; wait for its end")
    with key_folder(named), refused, key_folder(named):
        pytest.fail("not refused")
    with key_folder(named):
        pass
