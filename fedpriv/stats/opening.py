"""Results opened, made private if wanted, and told."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.he.key_files import write_private
from fedpriv.he.tables.opening import Open, kind_of, read_values
from fedpriv.he.tables.partials import opener, partial_of, private_noise, read_head
from fedpriv.he.tables.scoring import probabilities, read_scores
from fedpriv.he.tables.sums import gather
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE, PublicKeys
from fedpriv.he.users.shares import UserShare
from fedpriv.privacy.noise import SecureSource
from fedpriv.privacy.rounded import at_most
from fedpriv.stats.releasing import Price, mechanism_of, pay
from fedpriv.stats.report import as_json, as_text

_NO_NOISE = "--epsilon, --weights: the result holds scores of single rows; leave them out"
_EXACT = "Exact, and so not differentially private: who sees these numbers may learn of single rows."
_OF_HOLDERS = (
    "Opened by all holders of the key: exact, unless they added noise before they answered (decrypt --share "
    "FILE --epsilon E)."
)


@dataclass(frozen=True)
class Opening:
    """What is to be opened, and how.

    Attributes:
        result: of a server.
        key: the secret key's folder; with ``partials`` a public key.
        partials: the answers of all holders; none to use the secret key.
        price: of noise; None for the exact statistics.
        weights: column of weights; "" for none.
        rows: of scores, how many each table has; None for all places, padding included.
    """

    result: Path
    key: Path
    partials: Sequence[Path] | None = None
    price: Price | None = None
    weights: str = ""
    rows: Sequence[int] | None = None


@dataclass(frozen=True)
class Opened:
    """Statistics or scores.

    Attributes:
        content: as JSON.
        text: for people.
    """

    content: dict[str, Any]
    text: str


def open_result(opening: Opening) -> Opened:
    """Open a result of statistics or scores.

    Raises:
        UserError: naming what is wrong with key, answers, result or price.
    """
    keys, opens = _opener(opening)
    if kind_of(opening.result, keys) == "scores":
        return _scores(opening, keys, opens)
    if opening.rows is not None:
        raise UserError("--rows: the result holds no scores")
    if opening.price is not None and opening.partials:
        raise UserError(
            "--epsilon: each holder adds its noise before it answers (decrypt --share FILE --epsilon E)"
        )
    head, values = read_values(opening.result, keys, opens)
    schema = head.schema
    if opening.weights:
        schema.column(opening.weights)  # a wrong name must cost nothing
        if not head.pairs:
            raise UserError(
                "--weights: the result has no sums of pairs of columns; compute it without --no-pairs"
            )
    said: dict[str, Any] = {}
    note = _OF_HOLDERS if opening.partials else _EXACT
    if opening.price is not None:
        price = opening.price
        release = mechanism_of(head, price)
        noise = release.noise(SecureSource())
        spent = pay(head, release, price)
        values = [held + added for held, added in zip(values, noise, strict=True)]
        said = {
            "privacy": {"unit": "one row", "epsilon": price.epsilon, "delta": price.delta, "spent": spent}
        }
        note = (
            f"Noise added: epsilon {price.epsilon:g} at delta {price.delta:g} for one row added or removed; "
            f"all releases of a table together: at most {at_most(spent)}."
        )
    found = as_json(gather(schema, head.pairs, values), opening.weights)
    return Opened({"tables": len(head.tables), "note": note, **said, **found}, f"{as_text(found)}\n\n{note}")


def answer(result: Path, share: Path, out: Path | None, price: Price | None) -> str:
    """Write a holder's answer for a result; return what to tell.

    Raises:
        UserError: naming what is wrong with share, result or price.
    """
    holder = UserShare.load(share, "table")
    path = out or Path(f"{result.stem}-{holder.number}.partial")
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name with --out")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{path}: its folder is not there, or cannot be written; choose another with --out")
    kind = kind_of(result, holder.public)
    if price is None:
        write_private(path, partial_of(result, holder), what="answer")
        who = f"holder {holder.number} of {holder.holders}"
        return f"answer   {path} ({who}); with all others it opens the result"
    if kind == "scores":
        raise UserError(_NO_NOISE)
    head = read_head(result, holder.public)
    release = mechanism_of(head, price)
    noise = private_noise(release, head, holder.public, holder.holders, SecureSource())
    made = partial_of(result, holder, noise)
    spent = pay(head, release, price)
    write_private(path, made, what="answer")
    return (
        f"answer   {path} (holder {holder.number} of {holder.holders}), with noise: epsilon "
        f"{price.epsilon:g} at "
        f"delta {price.delta:g} for one row, whatever the others add; together at most {at_most(spent)}"
    )


def _opener(opening: Opening) -> tuple[PublicKeys, Open]:
    if opening.partials:
        public = PublicKeys.load(opening.key, "table")
        return public, opener(opening.partials, opening.result, public)
    if opening.key.name == PUBLIC_FILE:
        raise UserError(
            f"{opening.key}: is a public key, which opens nothing; name the folder of the secret one with "
            f"--key, or the answers of all holders with --partials"
        )
    owner = UserKeys.load(opening.key, "table")
    return owner.public, owner.decrypt_integers


def _scores(opening: Opening, keys: PublicKeys, opens: Open) -> Opened:
    if opening.price is not None or opening.weights:
        raise UserError(_NO_NOISE)
    kind, tables = read_scores(opening.result, keys, opens)
    if opening.rows is None:
        sys.stderr.write(
            "fedpriv: scores of all places, those without a row included; --rows N, one for each table, cuts "
            "them\n"
        )
    else:
        if len(opening.rows) != len(tables):
            raise UserError(
                f"--rows: {len(opening.rows)} for {len(tables)} tables; give a number for each, in order"
            )
        for rows, scores in zip(opening.rows, tables, strict=True):
            if not 1 <= rows <= len(scores):
                raise UserError(f"--rows {rows}: choose 1 to {len(scores)}")
        tables = [scores[:rows] for rows, scores in zip(opening.rows, tables, strict=True)]
    content: list[dict[str, list[float]]] = []
    lines = ["table,row,score" + (",probability" if kind == "logistic" else "")]
    for table, scores in enumerate(tables, 1):
        found = {"scores": scores.tolist()}
        if kind == "logistic":
            found["probabilities"] = probabilities(scores).tolist()
        content.append(found)
        for row, each in enumerate(zip(*found.values(), strict=True), 1):
            lines.append(",".join([str(table), str(row), *map(repr, each)]))
    return Opened({"model": kind, "note": _EXACT, "tables": content}, "\n".join(lines))
