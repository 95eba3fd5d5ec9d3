"""What Hydra's sweep grammar means to a search."""

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fedpriv.errors import UserError
from fedpriv.sweeps.search.space import read_space


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("interval(1, 10)", FloatDistribution(1, 10)),
        ("int(interval(1, 10))", IntDistribution(1, 10)),
        ("tag(log, interval(1e-4, 1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("int(tag(log, interval(1, 64)))", IntDistribution(1, 64, log=True)),
        ("range(1, 12, 2)", IntDistribution(1, 11, step=2)),
        ("range(10, 1, -3)", IntDistribution(4, 10, step=3)),
        ("range(4)", IntDistribution(0, 3)),
        ("tag(log, range(1, 100))", IntDistribution(1, 99, log=True)),
        ("range(0.25, 1.25, 0.25)", FloatDistribution(0.25, 1.0, step=0.25)),
        ("choice(1, b, 'c d')", CategoricalDistribution(["1", "b", "c\\ d"])),
        ("8,16", CategoricalDistribution(["8", "16"])),
        ("inf,1e-5", CategoricalDistribution(["inf", "1e-05"])),
    ],
)
def test_a_sweep_is_a_distribution(written, meant):
    assert read_space({"a.b": written}, []).searched == {"a.b": meant}
    assert read_space({}, [f"a.b={written}"]).searched == {"a.b": meant}


def test_values_that_are_no_sweep_are_every_trials_and_the_command_line_holds():
    space = read_space(
        {"a": "interval(0, 1)", "b": 3, "c": None, "d": "choice(1, 2)", "e": True},
        ["+experiment=x", "d=7", "b=range(3)", "~f"],
    )
    assert set(space.searched) == {"a", "b"}
    assert space.fixed == ("c=null", "d=7", "e=True", "+experiment=x", "~f")
    assert space.overrides({"a": 0.1, "b": 2}) == [*space.fixed, "a=0.1", "b=2"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("tag(log, interval(0, 1))", "low"),
        ("interval(2, 1)", "low end is above"),
        ("interval(0, inf)", "finite"),
        ("range(1, 1)", "no values"),
        ("range(0, 1e9, 1e-3)", "more than"),
        ("tag(log, range(1, 9, 2))", "step of 1"),
        ("tag(log, choice(1, 2))", "log scale"),
        ("tag(normal, interval(0, 1))", "normal"),
        ({"b": 1}, "a.NAME"),
        ("3", "nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(written, said):
    with pytest.raises(UserError, match=said) as caught:
        read_space({"a": written}, [])
    assert "a" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hydras_own_settings_are_not_searched():
    with pytest.raises(UserError, match="Hydra's own"):
        read_space({"hydra.job.chdir": "choice(true, false)"}, [])


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool), st.randoms())
def test_what_is_suggested_for_a_range_is_what_a_grid_would_run(start, stop, step, random):
    written = f"range({start},{stop},{step})"
    grid = list(OverridesParser.create().parse_override(f"a={written}").sweep_string_iterator())
    if not grid:
        with pytest.raises(UserError):
            read_space({"a": written}, [])
        return
    space = read_space({"a": written}, [])
    sampler = optuna.samplers.RandomSampler(seed=random.randrange(1 << 31))
    values = {sampler._rng.rng.random_sample() for _ in range(3)}
    assert len(values) == 3
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    assert {space.settings(space.suggest(study.ask()))[0].removeprefix("a=") for _ in range(5)} <= set(grid)
    assert {str(corner["a"]) for corner in space.corners()} == {
        str(min(map(int, grid))),
        str(max(map(int, grid))),
    }


@pytest.mark.parametrize("values", ["0.1,0.10", "choice(0.1,2,1e-1)", "1,1.0", "a,b,a"])
def test_a_value_that_is_written_in_two_ways_is_refused(values):
    with pytest.raises(UserError, match="are the same; name each value once"):
        read_space({"a.b": values}, [])


def test_values_that_differ_are_kept_as_they_are_written():
    space = read_space({"a.b": "choice(1e-1,0.2,1,true,none)"}, [])
    assert space.searched["a.b"].choices == ("0.1", "0.2", "1", "True", "none")
