"""Results opened, made private if wanted, and told."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.he.tables.opening import Open, read_values
from fedpriv.he.tables.partials import opener, private_noise, read_head, write_partial
from fedpriv.he.tables.scoring import is_scores, probabilities, read_scores
from fedpriv.he.tables.sums import gather
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.shares import UserShare
from fedpriv.privacy.noise import SecureSource
from fedpriv.privacy.rounded import at_most
from fedpriv.stats.releasing import Price, pay
from fedpriv.stats.report import as_json, as_text


@dataclass(frozen=True)
class Opening:
    """What is to be opened, and how.

    Attributes:
        result: of a server.
        key: the secret key's folder; with ``partials`` a public key.
        partials: the answers of all holders; none to use the secret key.
        price: of noise; None for the exact statistics.
        weights: column of weights; "" for none.
        rows: of scores, how many; None for all, padding included.
    """

    result: Path
    key: Path
    partials: Sequence[Path] | None = None
    price: Price | None = None
    weights: str = ""
    rows: int | None = None


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
    if is_scores(opening.result, keys):
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
    note = "Exact, and so not differentially private: who sees these numbers may learn of single rows."
    if opening.price is not None:
        release, spent = pay(head, opening.price)
        noise = release.noise(SecureSource())
        values = [held + added for held, added in zip(values, noise, strict=True)]
        price = opening.price
        said = {
            "privacy": {"unit": "one row", "epsilon": price.epsilon, "delta": price.delta, "spent": spent}
        }
        note = (
            f"Noise added: epsilon {price.epsilon:g} at delta {price.delta:g} for one row added or removed; "
            f"all releases of a table together: at most {at_most(spent)}."
        )
    found = as_json(gather(schema, head.pairs, values), opening.weights)
    note = "" if opening.partials else note
    return Opened(
        {"tables": len(head.tables), **said, **found}, "\n\n".join(filter(None, (as_text(found), note)))
    )


def answer(result: Path, share: Path, out: Path | None, price: Price | None) -> str:
    """Write a holder's answer for a result; return what to tell.

    Raises:
        UserError: naming what is wrong with share, result or price.
    """
    holder = UserShare.load(share, "table")
    path = out or Path(f"{result.stem}-{holder.number}.partial")
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name with --out")
    if price is None:
        write_partial(path, result, holder)
        who = f"holder {holder.number} of {holder.holders}"
        return f"answer   {path} ({who}); with all others it opens the result"
    head = read_head(result, holder.public)
    release, spent = pay(head, price)
    noise = private_noise(release, head, holder.public, holder.holders, SecureSource())
    write_partial(path, result, holder, noise)
    return (
        f"answer   {path} (holder {holder.number} of {holder.holders}), with noise: epsilon "
        f"{price.epsilon:g} at "
        f"delta {price.delta:g} for one row, whatever the others add; together at most {at_most(spent)}"
    )


def _opener(opening: Opening) -> tuple[PublicKeys, Open]:
    if opening.partials:
        public = PublicKeys.load(opening.key, "table")
        return public, opener(opening.partials, opening.result, public)
    owner = UserKeys.load(opening.key, "table")
    return owner.public, owner.decrypt_integers


def _scores(opening: Opening, keys: PublicKeys, opens: Open) -> Opened:
    if opening.price is not None or opening.weights:
        raise UserError("--epsilon, --weights: the result holds scores of single rows; leave them out")
    kind, scores = read_scores(opening.result, keys, opens)
    if opening.rows is not None:
        if not 1 <= opening.rows <= len(scores):
            raise UserError(f"--rows {opening.rows}: choose 1 to {len(scores)}")
        scores = scores[: opening.rows]
    else:
        sys.stderr.write("fedpriv: scores of all places, those without a row included; --rows N cuts them\n")
    content: dict[str, Any] = {"model": kind, "scores": scores.tolist()}
    lines = ["row,score"] + [f"{row},{score!r}" for row, score in enumerate(scores.tolist(), 1)]
    if kind == "logistic":
        content["probabilities"] = probabilities(scores).tolist()
        lines = ["row,score,probability"] + [
            f"{line},{each!r}" for line, each in zip(lines[1:], content["probabilities"], strict=True)
        ]
    return Opened(content, "\n".join(lines))
