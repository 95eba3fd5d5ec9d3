"""``fedpriv attack templates``: what it prints and refuses, and its exit status."""

import dataclasses
import json

import pytest
from rich.console import Console

from experiments.attack import main as attack
from experiments.attack import templates as command
from fedpriv.attacks.templates.runs import FREE, LENGTHS, PHOTO, WITHIN, Found, Row, Settings
from fedpriv.errors import UserError

ROWS = {
    name: Row(name, 32, (0.5, 0.7), 0.5, 12.0 if name in (FREE, PHOTO) else None, (0.5,))
    for name in (WITHIN, FREE, PHOTO)
} | {LENGTHS: Row(LENGTHS, 32, (), 0.0, None, (), 32)}
FOUND = Found(Settings(targets=2), 0.39, 0.007, ROWS, held=True)


def test_json_has_what_was_promised(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(command, "run", lambda settings: seen.append(settings) or FOUND)
    attack(["templates", "--targets", "2", "--far", "1e-3", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert seen == [Settings(targets=2, rate=1e-3)]
    assert found["held"] is True
    assert found["attacks"][0] == {
        "name": WITHIN,
        "queries": 32,
        "cosine_mean": 0.6,
        "cosine_least": 0.5,
        "accepted": 0.5,
        "queries_to_first_accepted": None,
        "days_at_budget": None,
        "real_cosines": [0.5],
        "real_refused": 0,
    }
    assert found["attacks"][3]["cosine_mean"] is None


def test_an_attack_that_got_through_is_exit_status_1(monkeypatch, capsys):
    monkeypatch.setattr(command, "run", lambda _: dataclasses.replace(FOUND, held=False))
    with pytest.raises(SystemExit) as caught:
        attack(["templates"])
    assert caught.value.code == 1
    assert "got through" in capsys.readouterr().out


def test_the_table_fits_a_terminal_and_says_what_leaks():
    console = Console(width=80, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    command.show(FOUND, console)
    said = console.export_text()
    console.file.close()
    assert "…" not in said
    assert "Many answers do leak" in said
    assert "32 refused" in said


@pytest.mark.parametrize(("chance", "much"), [(0.003, False), (0.46, True)])
def test_it_says_what_chance_itself_is_and_when_that_is_much(chance, much):
    settings = Settings(targets=2, rate=0.02 if much else 1e-4)
    said = command.against_chance(dataclasses.replace(FOUND, settings=settings, chance=chance))
    assert f"50% of the guesses made within the budget are accepted, {chance:.1%} by chance alone" in said
    assert f"at FAR {settings.rate:g}, 32 strangers" in said
    assert ("smaller FAR, or a smaller budget" in said) == much


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--targets", "0"], "--targets 0: choose 1 to 1000"), (["--wrong"], "unrecognized arguments: --wrong")],
)
def test_what_it_cannot_do_is_refused_in_one_line(arguments, said):
    with pytest.raises(UserError, match=said):
        attack(["templates", *arguments])
