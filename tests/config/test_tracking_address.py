"""Addresses with a password are refused before anything is written, and never repeated."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from fedpriv.cli import main
from fedpriv.config.tracking_address import checked_address, refusal_of_address

WORDS = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789.-_", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("address", "mend"),
    [
        ("https://me:SECRET@host", "MLFLOW_TRACKING_PASSWORD"),
        ("HTTPS://me:SECRET@host:5000/path", "MLFLOW_TRACKING_PASSWORD"),
        ("http://SECRET@host", "MLFLOW_TRACKING_PASSWORD"),
        ("https://host/?token=SECRET", "MLFLOW_TRACKING_TOKEN"),
        ("postgresql://me:SECRET@host:5432/mlflow", "PGPASSWORD"),
        ("postgresql+psycopg2://me:SECRET@/mlflow", "PGPASSWORD"),
        ("postgresql://me:SEC/RET@host/mlflow", "PGPASSWORD"),
        ("postgresql://me:SEC@RET@host/mlflow", "PGPASSWORD"),
        ("postgresql://host/mlflow?user=me&password=SECRET", "PGPASSWORD"),
        ("mssql+pyodbc:///?odbc_connect=Driver%3D;PWD%3DSECRET", "PGPASSWORD"),
        ("mysql+pymysql://me:1234@host/mlflow", "PGPASSWORD"),
        ("'mysql://me:SECRET@host'", "PGPASSWORD"),
        ("http://host:5000,https://me:SECRET@host", "MLFLOW_TRACKING_PASSWORD"),
        ("foo://me:SECRET@host", "PGPASSWORD"),
        ("postgresql://u:1234/SECRET@127.0.0.1:9/db", "PGPASSWORD"),
        ("postgresql://u:1234#SECRET@h", "PGPASSWORD"),
        ("postgresql://u:1234,SECRET@h", "PGPASSWORD"),
        ("postgresql://u:1234}SECRET@h", "PGPASSWORD"),
        ("postgresql://u?#:SECRET@h", "PGPASSWORD"),
    ],
)
def test_an_address_with_a_password_is_refused_with_the_variable_to_set_instead(address, mend):
    said = refusal_of_address(address)
    assert said.startswith("tracking.uri: h")
    assert "which would be written to files" in said
    assert mend in said
    assert "SECRET" not in said
    assert "1234" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "address",
    [
        "",
        "mlflow.db",
        "sqlite:///mlflow.db",
        "sqlite:////home/me@work/a:b@c/mlflow.db",
        "http://127.0.0.1:5000",
        "http://host:5000/a@b",
        "HTTPS://host:5000/a@b",
        "https://host/path",
        "postgresql://me@host/mlflow",
        "postgresql://host:5432/mlflow?sslmode=require",
        "mysql+pymysql://me@host/mlflow?read_default_file=/home/me/.my.cnf",
        "databricks",
        "databricks://profile",
    ],
)
def test_an_address_without_a_password_may_be_configured(address):
    assert refusal_of_address(address) is None


@given(
    st.sampled_from(["http", "https", "postgresql", "mysql+pymysql", "mssql"]),
    WORDS,
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=12),
    WORDS,
)
@example("postgresql", "u", "1234/secret", "127.0.0.1")
def test_whatever_the_password_is_it_is_seen(scheme, user, password, host):
    port = re.match(r"\d+[/?#,'\"}\]]", password)  # as far as anybody can tell
    assume(not (port and scheme.startswith("http")))
    assert refusal_of_address(f"{scheme}://{user}:{password}@{host}/x") is not None


@given(st.text("u1:/?#@,'}", max_size=12))
def test_what_sqlalchemy_takes_for_a_password_is_refused(rest):
    try:
        found = make_url(f"postgresql://{rest}")
    except (ArgumentError, ValueError):
        return
    assert (found.password is None) or refusal_of_address(f"postgresql://{rest}") is not None


@pytest.mark.parametrize(
    "command",
    [
        "relays up --folder a",
        "faces enroll --people a --model a",
        "faces identify a.png --model a",
        "faces export a a.npz",
        "evaluate --run 0123",
        "register 0123 a",
        "compare --out a",
    ],
)
def test_no_command_takes_a_password_and_nothing_is_written(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--tracking-uri", "postgresql://alice:SECRET@h/db"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("fedpriv: --tracking-uri: holds a password, which would be written to files; ")
    assert said.count("\n") == 1
    assert "SECRET" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_command_takes_an_address_without_a_password_as_it_is():
    assert checked_address("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
