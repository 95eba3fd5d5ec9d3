"""``python -m experiments.run`` with a password on its command line."""

import sys

import pytest

from experiments.run import main


@pytest.mark.parametrize(
    "arguments",
    [
        ["tracking.uri=https://me:SECRET@127.0.0.1:9"],
        ["tracking.uri=postgresql://me:SECRET@host/mlflow", "--cfg", "job"],
        ["-m", "seed=0,1", "tracking.uri=https://me:SEC,RET@host"],
        ["tracking={uri: 'https://me:SECRET@host'"],  # nor is it repeated with what cannot be read
    ],
)
def test_a_password_is_refused_before_anything_is_written_and_not_repeated(
    tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith("fedpriv: tracking.uri: holds a password, which would be written to files; ")
    assert err.count("\n") == 1
    assert "SEC" not in out + err
    assert not list(tmp_path.iterdir())
