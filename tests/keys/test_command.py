"""The command line `fedpriv keys`: its defaults, its words and its refusals."""

import stat

import pytest

from fedpriv.cli import main
from fedpriv.he.users.key_heads import grouped
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.shares import UserShare


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    return tmp_path


def refused(capsys, *arguments):
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as caught:
        main(["keys", *arguments])
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("fedpriv: ")
    assert text.count("\n") == 1
    return text


def test_a_key_made_without_options_can_be_shown_and_used(here, capsys):
    main(["keys", "new", "images"])
    made = capsys.readouterr().out
    keys = UserKeys.load(here / "keys-images")
    assert grouped(keys.fingerprint) in made
    assert stat.S_IMODE((here / "keys-images").stat().st_mode) == 0o700
    main(["keys", "show"])
    shown = capsys.readouterr().out
    assert shown.count(grouped(keys.fingerprint)) == 2
    assert "secret key; keep it to yourself" in shown
    assert "BFV, N 4096, primes of 54 + 54 bits" in shown
    for text in (made, shown):
        assert keys._seed.hex() not in text


def test_a_key_to_split_is_split_and_its_shares_shown(here, capsys):
    main(["keys", "new", "images", "--to-split", "--out", "a/b"])
    main(["keys", "split", "a/b/secret.key", "--holders", "2", "--out", "c"])
    shares = [UserShare.load(here / "c" / f"holder-{number}") for number in (1, 2)]
    assert [(each.number, each.holders) for each in shares] == [(1, 2), (2, 2)]
    capsys.readouterr()
    main(["keys", "show", "c/holder-2"])
    assert "share of key holder 2 of 2" in capsys.readouterr().out


def test_a_split_without_options_puts_three_holders_beside_the_secret(here, capsys):
    main(["keys", "new", "table"])
    main(["keys", "split", "keys-table"])
    assert len(list((here / "keys-table").glob("holder-*/share.key"))) == 3
    assert "delete the shares and secret.key" in capsys.readouterr().out


@pytest.mark.parametrize("purpose", ["images", "faces"])
def test_nobody_is_told_to_delete_a_key_whose_shares_no_command_reads(here, capsys, purpose):
    main(["keys", "new", purpose, "--to-split"])
    main(["keys", "split", f"keys-{purpose}"])
    said = capsys.readouterr().out
    assert "delete" not in said
    assert f"Keep secret.key: no command opens {purpose} with shares" in said


def test_what_a_person_can_get_wrong_is_one_line(here, capsys):
    main(["keys", "new", "images"])
    assert "exists already" in refused(capsys, "new", "images")
    assert "--to-split" in refused(capsys, "split", "keys-images")
    assert "invalid choice: 'dogs'" in refused(capsys, "new", "dogs")
    assert "new, show, split" in refused(capsys, "make")
    assert "cannot read" in refused(capsys, "show", "nowhere")
    assert "cannot read the key" in refused(capsys, "split", "nowhere")
    assert "invalid int value" in refused(capsys, "split", "keys-images", "--holders", "x")
    assert "no key file" in refused(capsys, "show", __file__)
    (here / "empty").mkdir()
    assert "holds no secret.key, share.key or public.key" in refused(capsys, "show", "empty")
    (here / "keys-images" / "secret.key").chmod(0o644)
    assert "chmod 600" in refused(capsys, "show", "keys-images")
    (here / "taken").write_bytes(b"")
    assert "File exists" in refused(capsys, "new", "images", "--out", "taken")


def test_with_nothing_here_to_show_it_says_so(capsys):
    assert "no folder keys-PURPOSE is here" in refused(capsys, "show")


@pytest.mark.parametrize("command", [[], ["new"], ["show"], ["split"]])
def test_every_help_has_examples(capsys, command):
    if command:
        with pytest.raises(SystemExit) as caught:
            main(["keys", *command, "--help"])
        assert caught.value.code == 0
    else:
        main(["keys"])
    text = capsys.readouterr().out
    assert "examples:\n  fedpriv keys" in text
    assert max(map(len, text.splitlines())) <= 110
