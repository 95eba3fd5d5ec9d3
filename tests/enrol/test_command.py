"""The command line: examples that parse, one line and status 2 for mistakes, no secret on the screen."""

import re
import shlex

import pytest

from fedpriv import cli
from fedpriv.enrol.command import COMMANDS
from fedpriv.he.provision import load_enrolment


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder; return status, output and complaint."""
    monkeypatch.chdir(tmp_path)

    def call(line):
        try:
            cli.main(["enrol", *shlex.split(line)])
            status = 0
        except SystemExit as left:
            status = left.code
        return (status or 0, *capsys.readouterr())

    return call


def test_help_lists_every_command_and_each_has_its_own_with_examples(run):
    status, out, _ = run("--help")
    assert status == 0
    assert run("") == (0, out, "")
    for name, function in COMMANDS.items():
        assert f"{name:11} {function.__doc__}" in out
        status, own, _ = run(f"{name} --help")
        assert status == 0
        assert own.startswith(f"usage: fedpriv enrol {name} ")
        examples = own.split("examples:\n")[1].splitlines()
        assert all(line.startswith(("  fedpriv enrol ", "  fedpriv run ")) for line in examples)
        assert any(line.startswith(f"  fedpriv enrol {name} ") for line in examples)


def test_the_whole_way_of_a_committee(run, tmp_path):
    fingerprints = {}
    for role, number in (("client", 0), ("client", 1), ("client", 2), ("holder", 0), ("holder", 1)):
        status, out, _ = run(f"party {role}{number} --{role} {number}")
        assert status == 0
        fingerprints[role, number] = re.search(r"^fingerprint  (.*)$", out, re.MULTILINE)[1]
    terms = "secure=bfv_committee secure.holders=2 secure.min_clients=3 federation.min_replies=3"
    cards = " ".join(f"{role}{number}/{role}-{number}.card.json" for role, number in fingerprints)
    status, out, _ = run(f"collect enrolment.json {cards} {terms}")
    assert status == 0
    digest = re.search(r"^digest (.*)$", out, re.MULTILINE)[1]
    for (role, number), fingerprint in fingerprints.items():
        assert f"{role} {number}     {fingerprint}\n" in out
        status, accepted, _ = run(f"accept {role}{number} enrolment.json --digest '{digest}'")
        assert status == 0
        assert f"Accepted as {role} {number} in " in accepted
        assert load_enrolment(tmp_path / f"{role}{number}").digest.hex() == digest.replace(" ", "")
        status, shown, _ = run(f"show {role}{number}")
        assert shown.startswith(f"own key: {role} {number}     {fingerprint}\n")
        assert f"digest {digest}" in shown
        assert "not enrolled" not in shown
    assert run(f"show {cards}")[1] == "".join(f"{r} {n}     {f}\n" for (r, n), f in fingerprints.items())


def test_the_whole_way_of_an_authority_shows_no_secret(run, tmp_path):
    said = ""
    for party in ("client0 --client 0", "client1 --client 1", "holder --holder 0"):
        said += run(f"party {party}")[1]
    _, out, _ = run("shared-key holder secure=bfv federation.clients=2")
    fingerprint = re.search(r"^fingerprint  (.*)$", out, re.MULTILINE)[1]
    cards = "client0/client-0.card.json client1/client-1.card.json holder/holder-0.card.json"
    said += out + run(f"collect e.json {cards} secure=bfv --shared-key-fingerprint '{fingerprint}'")[1]
    status, out, _ = run("accept client0 e.json")
    assert "Missing: client0/clients/0/shared.key, from key holder 0; accept once more" in out
    for folder in ("client0", "client1", "holder"):
        status, out, complaint = run(
            f"accept {folder} e.json --shared-key holder/keyholders/0/shared.key secure=bfv"
        )
        assert (status, complaint) == (0, "")
        assert "Missing" not in out
        said += out
    said += run("show client0 client1 holder e.json")[1]
    keys = list(tmp_path.rglob("signing.key"))
    assert len(keys) == 3
    for key in keys:
        assert key.read_bytes()[16:48].hex() not in said.replace(" ", "")
    assert not list(tmp_path.rglob(".*"))  # nothing half-written


def test_all_in_one_place_says_what_that_means(run, tmp_path):
    status, out, _ = run("all trial secure=bfv federation.clients=2")
    assert status == 0
    assert "WHOEVER HAS trial CAN READ EVERYTHING" in out
    status, shown, _ = run("show trial")
    assert shown.count("own key: ") == 3
    assert load_enrolment(tmp_path / "trial").digest.hex() in shown.replace(" ", "")


MISTAKES = {
    "sign": "sign: no such command; choose one of party, ",
    "party": "enrol party: the following arguments are required: FOLDER; see",
    "party keys": "enrol party: one of the arguments --client --holder is required; see",
    "party keys --client 0 --holder 1": "enrol party: argument --holder: not allowed with argument --client",
    "party keys --client one": "enrol party: argument --client: invalid int value: 'one'; see",
    "party keys --client -1": "client -1: numbers go from 0 to 99999",
    "party no/keys --client 0": "no/keys: no is missing; make it first",
    "shared-key keys secure=bfv": "keys: has no key holder 0",
    "collect e.json": "enrol collect: the following arguments are required: CARD|KEY=VALUE; see",
    "collect e.json secure=none": "no client's card is among them",
    "collect e.json missing.card.json": "missing.card.json: cannot read the file: No such file or directory",
    "collect e.json ./a=b.json": "a=b.json: cannot read the file: No such file or directory",
    "collect e.json c --shared-key-fingerprint 12": "--shared-key-fingerprint '12': need 32 ",
    "collect there.json c": "there.json: exists already; an enrolment is never replaced",
    "collect e.json c --force": "enrol collect: unrecognized arguments: --force; see",
    "accept keys missing.json": "missing.json: cannot read the file",
    "accept keys there.json": "there.json: is no enrolment",
    "accept keys there.json --digest 12": "--digest '12': need 64 hexadecimal digits",
    "show missing": "missing: cannot read the file",
    "all there.json secure=none": "there.json: exists already; name a new folder",
    "all trial secure=nothing": "secure=nothing: ",
    "all trial mode=centralized": "mode=centralized: has no parties to enrol",
    r"show $'\e[31m'": ": cannot read the file",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_status_2_and_makes_nothing(run, tmp_path, line):
    (tmp_path / "there.json").write_text("{}")
    status, out, complaint = run(line)
    assert (status, out) == (2, "")
    assert complaint.startswith("fedpriv: ")
    assert MISTAKES[line] in complaint
    assert complaint.count("\n") == 1
    assert complaint[:-1].isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]


def test_what_cannot_be_written_is_one_line(run):
    status, _, complaint = run("party /proc/keys --client 0")
    assert status == 2
    assert complaint.count("\n") == 1
