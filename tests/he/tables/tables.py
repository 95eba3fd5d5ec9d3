"""Tables for tests: files, and their sums computed in the clear."""

from pathlib import Path

import numpy as np

from fedpriv.he.tables.csv_table import read_table
from fedpriv.he.tables.drafting import Wishes, draft
from fedpriv.he.tables.encrypting import table_identity, write_encrypted
from fedpriv.he.tables.schema import Schema
from fedpriv.he.tables.sums import Sums
from fedpriv.he.tables.vectors import TableVectors, vectors_of
from fedpriv.he.users.keys import UserKeys

HEADER = "sex,age,weight,score"


def random_csv(path: Path, rows: int, seed: int) -> Path:
    """Write a table with missing cells, decimals, negative values and groups."""
    random = np.random.default_rng(seed)
    lines = [HEADER]
    for _ in range(rows):
        cells = [
            random.choice(["m", "f", ""]),
            str(random.integers(18, 90)),
            f"{random.uniform(40, 120):.1f}",
            f"{random.normal(0, 3):.2f}",
        ]
        for place in (1, 2, 3):
            if random.random() < 0.2:
                cells[place] = random.choice(["", "NA", "nan"])
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


POOL = Wishes(
    bounds={"age": ("0", "120"), "weight": ("30", "150"), "score": ("-20", "20")},
    bins={"age": ("0", "30", "60", "120"), "score": ("-20", "0", "20")},
    decimals={"weight": 1, "score": 2},
    group="sex",
)


def plain_sums(vectors: TableVectors, schema: Schema) -> Sums:
    """Return what the encrypted sums must open to, row by row in Python's integers."""
    d, scopes = len(schema.columns), len(schema.scopes)
    one = {name: np.zeros((scopes, d), np.int64) for name in ("counts", "totals", "squares")}
    names = ("counts_of_pairs", "totals_of_pairs", "squares_of_pairs", "products")
    two = {name: np.zeros((scopes, d, d), np.int64) for name in names}
    for row in range(vectors.rows):
        s = vectors.parts[row]
        for i in range(d):
            x, m = vectors.values[i, row], vectors.masks[i, row]
            for name, term in zip(one, (m, x * m, x * x * m), strict=True):
                one[name][s, i] += term
            for j in range(d):
                y, n = vectors.values[j, row], vectors.masks[j, row]
                for name, term in zip(two, (m * n, x * m * n, x * x * m * n, x * y * m * n), strict=True):
                    two[name][s, i, j] += term
    bins = {
        c: np.array([np.count_nonzero(of == b) for b in range(len(schema.columns[c].edges) - 1)])
        for c, of in vectors.bins.items()
    }
    return Sums(schema, True, bins=bins, **one, **two)


def encrypted(source: Path, owner: UserKeys, schema: Schema | None = None, public: bool = False) -> Path:
    """Encrypt a CSV file beside it, for the pool's schema or that of :data:`POOL`."""
    table = read_table(source)
    chosen = schema or draft(table, POOL)
    vectors = vectors_of(table, chosen, True)
    out = source.with_suffix(".table")
    encryptor = owner.public.encryptor() if public else owner.encryptor()
    identity = table_identity(table, b"secret of the tests")
    write_encrypted(
        out, vectors, chosen, encryptor, owner.fingerprint, identity, None if public else owner.signer
    )
    return out
