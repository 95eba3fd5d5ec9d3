"""Update schemes by name; another scheme costs one file and one line here."""

from importlib import import_module
from typing import Any

from fedpriv.errors import UserError
from fedpriv.he.codec import UpdateCodec

SCHEMES: dict[str, str] = {
    "plain": "fedpriv.he.plain:PlainCodec",
    "bfv": "fedpriv.he.bfv:BFVCodec",
}
"""Scheme to ``module:class``, imported on use: a plain run needs no encryption library."""


def build_codec(scheme: str, max_clients: int, **options: Any) -> UpdateCodec:
    """Return the codec of a scheme.

    Args:
        scheme: a key of :data:`SCHEMES`.
        max_clients: most updates in one sum.
        options: further keyword arguments of that codec's constructor.

    Raises:
        UserError: when there is no such scheme, or its codec refuses the options.
    """
    if scheme not in SCHEMES:
        raise UserError(f"secure.scheme={scheme}: unknown; choose one of {', '.join(sorted(SCHEMES))}")
    module, name = SCHEMES[scheme].split(":")
    codec: UpdateCodec = getattr(import_module(module), name)(max_clients=max_clients, **options)
    return codec
