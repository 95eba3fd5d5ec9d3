"""Addresses of stores that hold a password: whatever is configured is written to files."""

import re

from fedpriv.errors import UserError

_ADDRESS = re.compile(r"(?P<scheme>[a-z][\w+.-]*)://(?=(?P<rest>\S*))", re.IGNORECASE)
_HTTP_PASSWORD = re.compile(r"[^/?#@:]*:(?!\d+(?:[/?#,'\"}\]]|$))\S*@")
"""After the scheme: a name, a colon that no port follows, and a sign ``@`` however far."""
_PASSWORD = re.compile(r"[^:/]*:[^@]*@")
"""As SQLAlchemy reads it: a port is none where a sign ``@`` follows, however far."""
_USER = re.compile(r"[^/?#]*@")
_SECRET_FIELD = re.compile(r"[?&;](?:\w*(?:pass|pwd|token|secret)\w*|odbc_connect)=", re.IGNORECASE)

_WRITTEN = "which would be written to files"


def refusal_of_address(text: str, field: str = "tracking.uri") -> str | None:
    """Return in one line why an address must not be configured; None where it may. It is never repeated.

    Refused are a password, with ``http`` and ``https`` any user and any query, and with other schemes a query
    that names a secret. What is no address is not judged, and one in the middle of other text is found.

    Args:
        text: an address, or what was typed for it.
        field: what it is the value of, for messages.
    """
    said = (_refusal(field, found["scheme"].lower(), found["rest"]) for found in _ADDRESS.finditer(text))
    return next((each for each in said if each is not None), None)


def checked_address(text: str) -> str:
    """Return what was given as ``--tracking-uri``, for ``argparse`` to check it before anything is written.

    Raises:
        UserError: see :func:`refusal_of_address`.
    """
    if (said := refusal_of_address(text, "--tracking-uri")) is not None:
        raise UserError(said)
    return text


def _refusal(field: str, scheme: str, rest: str) -> str | None:
    if scheme not in ("http", "https"):
        if _PASSWORD.match(rest) or _SECRET_FIELD.search(rest):
            return (
                f"{field}: holds a password, {_WRITTEN}; leave it away: PostgreSQL takes it from the "
                "variable PGPASSWORD or ~/.pgpass, MySQL from the file that ?read_default_file= names"
            )
        return None
    if _HTTP_PASSWORD.match(rest) or _USER.match(rest):
        return (
            f"{field}: holds a password, {_WRITTEN}; set the variables MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD instead"
        )
    if "?" in rest:
        return (
            f"{field}: has a query, {_WRITTEN} and may hold a token; set the variable "
            "MLFLOW_TRACKING_TOKEN instead"
        )
    return None
