"""Results of encrypted tables, computed in this process or by a server."""

import os
from collections.abc import Sequence
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.tables.computing import write_sums
from fedpriv.he.tables.models import TableModel
from fedpriv.he.tables.scoring import write_scores
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.stats.client import StatsClient
from fedpriv.stats.protocol import NUMBER


def compute_here(
    out: Path, tables: Sequence[Path], key: Path, pairs: bool, model: Path | None, workers: int
) -> None:
    """Write the result of some tables.

    Args:
        out: of the result.
        tables: encrypted.
        key: public.
        pairs: see :func:`~fedpriv.he.tables.computing.write_sums`.
        model: file of one whose scores are wanted instead of sums.
        workers: processes; 0 for one a core.

    Raises:
        UserError: naming what is wrong.
    """
    keys = PublicKeys.load(key, "table")
    if not 0 <= workers <= 1024:
        raise UserError(f"--workers {workers}: choose 1 to 1024")
    if model is not None:
        write_scores(out, tables, keys, TableModel.load(model))
    else:
        write_sums(out, tables, keys, pairs, workers or len(os.sched_getaffinity(0)))


def compute_there(
    out: Path, tables: Sequence[Path], url: str, ca: Path | None, pairs: bool, model: Path | None
) -> None:
    """Have a server compute what :func:`compute_here` does.

    Args:
        out: of the result.
        tables: encrypted, and numbers of tables that the server has: of :func:`upload`. Files are sent, and
            the server is told to delete them in the end.
        url: of the server.
        ca: see :class:`StatsClient`.
        pairs: as for :func:`compute_here`.
        model: likewise.

    Raises:
        UserError: when the server cannot be reached or refuses, and says why.
    """
    chosen = None if model is None else TableModel.load(model)
    with StatsClient(url, ca) as client:
        sent: list[str] = []
        try:
            names = []
            for table in tables:
                if NUMBER.fullmatch(str(table)) and not table.exists():
                    names.append(str(table))
                else:
                    sent.append(client.upload(table))
                    names.append(sent[-1])
            client.compute(out, names, pairs, chosen)
        finally:
            for each in sent:
                client.delete(each)


def upload(table: Path, url: str, ca: Path | None) -> str:
    """Leave a table at a server, for others to pool with theirs; return its number there.

    Raises:
        UserError: as :meth:`StatsClient.upload`.
    """
    with StatsClient(url, ca) as client:
        return client.upload(table)
