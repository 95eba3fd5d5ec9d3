"""``fedpriv attack``: its fields, its picture, its refusals."""

import json

import pytest

from fedpriv.cli import main

QUICK = ["attack", "audit", "--level", "client", "--epsilon", "2", "--canaries", "100", "--noise", "fast"]


def test_json_is_one_object_with_every_seed(capsys):
    main([*QUICK, "--seeds", "2", "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [each["seed"] for each in found["audits"]] == [0, 1]
    assert found["claimed_epsilon"] == pytest.approx(2.0, rel=0.01)
    assert found["refuted"] == sum(each["refuted"] for each in found["audits"])
    for each in found["audits"]:
        assert min(each["epsilon_lower_bound"], each["epsilon_curve_bound"]) >= 0.0
        assert all(right <= made for made, right in each["guesses"])


def test_the_table_says_what_was_refuted_and_the_picture_is_drawn(capsys, tmp_path):
    picture = tmp_path / "scores.png"
    main([*QUICK, "--noise-off", "--picture", str(picture)])
    said = capsys.readouterr().out
    assert "refuted" in said
    assert "not refuted" not in said
    assert "noise switched off" in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [picture]


def test_a_claim_beyond_the_canaries_reach_is_pointed_out(capsys):
    main(["attack", "audit", "--level", "client", "--epsilon", "8", "--canaries", "20", "--noise", "fast"])
    assert "add --canaries" in " ".join(capsys.readouterr().out.split())


def test_help_lists_the_attacks(capsys):
    main(["attack"])
    assert "  audit " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attack", "nothing"], "attack nothing: no such attack"),
        (["attack", "audit", "--epsilon", "99"], "epsilon=99.0: choose"),
        (["attack", "audit", "--level", "foo"], "attack audit: argument --level: invalid choice: 'foo'"),
        (["attack", "audit", "--seeds", "0"], "--seeds 0: choose"),
        (["attack", "audit", "--picture", "a.bmp"], "--picture a.bmp: cannot draw"),
        (["attack", "audit", "--picture", "no/such/a.png"], "there is no folder no/such"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
