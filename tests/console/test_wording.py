import pytest

from fedpriv.console.wording import bytes_text, clock_text, lifetime_text, round_line, seconds_text
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.purse import Lifetime
from fedpriv.results import RoundResult

METRIC, LABEL = "error_deg", "angular error (deg)"


def test_round_line_leaves_out_what_was_not_measured():
    full = RoundResult(
        3,
        {METRIC: 9.12345},
        train_loss=0.5,
        epsilon=2.0,
        bytes_up=1_500_000,
        seconds={"train": 4.0, "encrypt": 1.0, "evaluate": 0.5},
        asked=8,
        replied=6,
        failures={"no_reply": 1, "non_finite": 1},
    )
    assert round_line(full, 10, METRIC, LABEL) == (
        "round 3/10 | angular error (deg) 9.123 | epsilon 2 | train loss 0.5 | clients 6/8 | "
        "failed: 1 no_reply, 1 non_finite | up 1.5 MB | 4.50 s"
    )
    assert round_line(RoundResult(0, {}), 10, METRIC, LABEL) == "round 0/10"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (812, "812 B"), (999, "999 B"), (31_400, "31.4 kB"), (999_950, "1 MB"), (2.5e9, "2.5 GB")],
)
def test_bytes_have_decimal_units(size, text):
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0421, "0.0421 s"), (12.345, "12.3 s"), (123.4, "123 s"), (599.9, "600 s"), (3723.0, "1:02:03")],
)
def test_seconds_have_three_digits_then_a_clock(seconds, text):
    assert seconds_text(seconds) == text


def test_clock_carries_to_hours():
    assert clock_text(59.9) == "0:00:59"
    assert clock_text(360_000) == "100:00:00"


def test_a_clipping_norm_is_shown_where_it_adapts():
    adapted = RoundResult(1, {}, epsilon=2.0, clipping_norm=0.12345, within_norm=0.5)
    assert round_line(adapted, 3, METRIC, LABEL) == "round 1/3 | epsilon 2 | clipping norm 0.123"


def test_what_is_spent_is_rounded_up():
    spent = RoundResult(1, {}, epsilon=10.7398, epsilon_reported=1.0001)
    assert round_line(spent, 3, METRIC, LABEL) == "round 1/3 | epsilon 10.8 (1.01 reported)"


def test_an_epsilon_that_was_reported_itself_is_written_once():
    spent = RoundResult(1, {}, epsilon=2.0, epsilon_reported=2.0)
    assert round_line(spent, 3, METRIC, LABEL) == "round 1/3 | epsilon 2"


@pytest.mark.parametrize(
    ("accountant", "said"), [("prv", ""), ("rdp", "; RDP bound"), ("none", "; no accountant bounds it")]
)
def test_what_all_runs_cost_names_its_accountant_as_the_run_does(accountant, said):
    found = Lifetime(Spent(8.0, 1e-5, accountant), 0)
    assert lifetime_text(found) == f"8 at delta 1e-05 (no other run{said})"


@pytest.mark.parametrize(
    ("others", "seeded", "fewest", "text"),
    [
        (0, 0, False, "8.01 at delta 1e-05 (no other run; zcdp)"),
        (1, 0, False, "8.01 at delta 1e-05 (with 1 other run; zcdp)"),
        (0, 0, True, "8.01 at delta 1e-05 (no other run; zcdp); charged for the fewest answers"),
        (
            2,
            3,
            False,
            "8.01 at delta 1e-05 (with 2 other runs; zcdp); "
            "3 of 3 runs had seeded noise, which protects nobody",
        ),
    ],
)
def test_what_all_runs_cost_says_how_many_there_were_and_what_they_are_worth(others, seeded, fewest, text):
    found = Lifetime(Spent(8.0002, 1e-5, "zcdp"), others, seeded)
    assert lifetime_text(found, fewest) == text
