"""The sequence of the README on the real table, against pandas."""

import json
import subprocess
import sys

import numpy as np
import pandas
import pytest

from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.vectors import vectors_of

TOLERANCE = 1e-6
README = (
    "keys new table",
    "stats encrypt {csv}",
    "stats compute framingham.table --key keys-table/public.key",
    "stats decrypt framingham.result --json",
)


@pytest.mark.slow
def test_every_mean_deviation_and_correlation_is_that_of_pandas(real_data, tmp_path):
    csv = real_data / "framingham.csv"
    for line in README:
        made = subprocess.run(
            [sys.executable, "-m", "fedpriv.cli", *line.format(csv=csv.resolve()).split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert made.returncode == 0, made.stderr
    found, frame = json.loads(made.stdout), pandas.read_csv(csv)
    assert list(found["columns"]) == list(frame)
    for name, of in found["columns"].items():
        assert of["count"] == frame[name].count()
        assert of["mean"] == pytest.approx(frame[name].mean(), rel=TOLERANCE)
        assert of["standard_deviation"] == pytest.approx(frame[name].std(), rel=TOLERANCE)
    for kind, expected in (("correlation", frame.corr()), ("covariance", frame.cov())):
        square = [[found[kind][a][b] for b in frame] for a in frame]
        np.testing.assert_allclose(square, expected, rtol=TOLERANCE)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("missing", ["", "nan"])
def test_other_dialects_of_the_real_table_are_the_same_integers(real_data, tmp_path, end, missing):
    path = real_data / "framingham.csv"
    lines = path.read_text().splitlines()[:600]
    header = "\ufeff" + ",".join(f'"{name.upper()}"' for name in lines[0].split(","))
    rows = [",".join(missing if cell == "NA" else cell for cell in line.split(",")) for line in lines[1:]]
    (tmp_path / "plain.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "other.csv").write_bytes(end.join([header, *rows, ""]).encode())
    schema = draft(read_table(tmp_path / "plain.csv"), Wishes())
    first, second = (
        vectors_of(read_table(tmp_path / f"{name}.csv"), schema, False) for name in ("plain", "other")
    )
    assert (first.values == second.values).all()
    assert (first.masks == second.masks).all()
    assert not first.masks.all()
