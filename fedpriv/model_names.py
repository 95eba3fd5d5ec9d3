"""Names of registered models as users write them: ``models:/NAME``, ``models:/NAME/3``, ``NAME@champion``."""

import re
from dataclasses import dataclass

from fedpriv.errors import UserError

PREFIX = "models:/"
"""What tells a registered model from a folder."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_ALIAS = r"[A-Za-z0-9_-]{1,99}"
_REGISTERED = re.compile(rf"({_NAME})(?:/([0-9]{{1,9}})|@({_ALIAS}))?")
_BY_ALIAS = re.compile(rf"{_NAME}@{_ALIAS}")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ModelName:
    """A registered model, or one of its versions.

    Attributes:
        name: of the model.
        version: its number; None together with no alias is the newest.
        alias: a name that somebody gave a version, e.g. ``champion``.
    """

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        """Return it as MLflow writes it."""
        ending = f"/{self.version}" if self.version is not None else f"@{self.alias}" if self.alias else ""
        return f"{PREFIX}{self.name}{ending}"


def is_run_id(source: str) -> bool:
    """Tell whether ``source`` looks like MLflow's name of a run: 32 hexadecimal digits."""
    return _RUN_ID.fullmatch(source) is not None


def names_registered(source: str) -> bool:
    """Tell whether ``source``, which may name a file too, is meant as a registered model.

    That is what begins with ``models:/``, and NAME@ALIAS. A file of such a name is meant by ``./NAME@ALIAS``.
    """
    return source.startswith(PREFIX) or _BY_ALIAS.fullmatch(source) is not None


def parse_model_name(source: str) -> ModelName:
    """Read ``[models:/]NAME``, ``[models:/]NAME/VERSION`` or ``[models:/]NAME@ALIAS``.

    Raises:
        UserError: it is none of these.
    """
    found = _REGISTERED.fullmatch(source.removeprefix(PREFIX))
    if found is None or (found[2] is not None and int(found[2]) < 1):
        raise UserError(
            f"{source[:120]!r}: is no registered model; write models:/NAME, models:/NAME/3 or NAME@ALIAS"
        )
    return ModelName(found[1], None if found[2] is None else int(found[2]), found[3])


def check_model_name(field: str, name: str) -> None:
    """Refuse a name under which nothing can be registered.

    Args:
        field: what the user wrote it as.
        name: one to 100 letters, digits, ``.``, ``_`` and ``-``, the first a letter or digit. One that looks
            like a run id could not be told from a run, nor one that ends in ``.npz`` from a file.

    Raises:
        UserError: when it is none.
    """
    if re.fullmatch(_NAME, name) is None or is_run_id(name) or name.lower().endswith(".npz"):
        raise UserError(
            f"{field}={name[:120]!r}: is no name of a model; use letters, digits, '.', '_' and '-', at most "
            "100, and neither the form of a run id nor the ending .npz"
        )


def check_alias(field: str, alias: str) -> None:
    """Refuse an alias that MLflow does not take: ``latest``, a version such as ``v3``, other signs.

    Raises:
        UserError: when it is none.
    """
    if re.fullmatch(_ALIAS, alias) is None or re.fullmatch(r"(?i)latest|v?[0-9]+", alias):
        raise UserError(
            f"{field}={alias[:120]!r}: is no alias; use letters, digits, '_' and '-', e.g. champion, and "
            "neither latest nor a number"
        )
