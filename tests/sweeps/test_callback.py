"""What the parent of a sweep is called."""

from types import SimpleNamespace

from fedpriv.sweeps.callback import _name


def test_a_sweep_is_named_by_what_it_varies_in_the_commands_order():
    names = [f"training.setting_{letter}" for letter in "qwertyuiop"]
    jobs = [SimpleNamespace(settings=tuple(f"{name}={value}" for name in names)) for value in ("a=b", "c")]
    assert _name(jobs) == "sweep " + " x ".join(f"{name}:2" for name in names)
    assert _name([SimpleNamespace(settings=())]) == "sweep of one job"
