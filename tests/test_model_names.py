import pytest

from fedpriv.errors import UserError
from fedpriv.model_names import (
    ModelName,
    check_alias,
    check_model_name,
    is_run_id,
    names_registered,
    parse_model_name,
)


@pytest.mark.parametrize(
    ("written", "meant", "shown"),
    [
        ("models:/gaze", ModelName("gaze"), "models:/gaze"),
        ("gaze", ModelName("gaze"), "models:/gaze"),
        ("models:/gaze-v2.1_b/12", ModelName("gaze-v2.1_b", 12), "models:/gaze-v2.1_b/12"),
        ("gaze/3", ModelName("gaze", 3), "models:/gaze/3"),
        ("gaze@champion", ModelName("gaze", alias="champion"), "models:/gaze@champion"),
        ("models:/gaze@champion", ModelName("gaze", alias="champion"), "models:/gaze@champion"),
    ],
)
def test_a_model_is_named_with_and_without_version_or_alias(written, meant, shown):
    assert parse_model_name(written) == meant
    assert str(meant) == shown


WRONG = [
    "",
    "models:/",
    "gaze/",
    "gaze@",
    "gaze/0",
    "gaze/-1",
    "gaze/1/2",
    "gaze/1@a",
    "../gaze",
    "a'b",
    "a b",
    "é",
]


@pytest.mark.parametrize("written", [*WRONG, "gaze\n", "gaze/1\n", "a" * 101, "gaze/1234567890"])
def test_what_is_no_name_is_refused(written):
    for source in (written, f"models:/{written}"):
        with pytest.raises(UserError, match="is no registered model; write models:/NAME") as refused:
            parse_model_name(source)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [*WRONG, "gaze/3", "gaze@champion", ".gaze", "-x", "a" * 101, "0" * 32])
def test_nothing_is_registered_under_what_could_not_be_named(name):
    with pytest.raises(UserError, match=r"^tracking.register=.*: is no name of a model; use letters"):
        check_model_name("tracking.register", name)
    for file in ("gaze.npz", "gaze.NPZ"):
        with pytest.raises(UserError, match=r"neither the form of a run id nor the ending .npz"):
            check_model_name("tracking.register", file)
    check_model_name("tracking.register", "gaze-v2.1_b")


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v3", "3", "a b", "a/b", "champion\n", "a" * 100])
def test_an_alias_that_mlflow_would_read_otherwise_is_refused(alias):
    with pytest.raises(UserError, match=r"^--alias=.*: is no alias; use letters"):
        check_alias("--alias", alias)
    check_alias("--alias", "champion_2")


def test_a_registered_model_is_told_from_folders_and_runs():
    assert [names_registered(each) for each in ("models:/x", "gaze@champion")] == [True, True]
    for folder in ("gaze", "outputs/1", "gaze/3", "./gaze@champion", "a b@c", "user@host:dir"):
        assert not names_registered(folder)
    assert is_run_id("0123456789abcdef" * 2)
    assert not is_run_id("0123456789ABCDEF" * 2)
    assert not is_run_id("0" * 32 + "\n")
