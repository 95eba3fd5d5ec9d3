"""Where artifacts may lie: whoever writes to MLflow's database must not choose who is sent credentials."""

import re
from urllib.parse import SplitResult, urlsplit

from fedpriv.errors import UserError
from fedpriv.tracking.secrets import hide_in_text

_LOCAL = ("", "file")
_BUCKETS = ("s3", "gs", "dbfs")
"""Asked with keys that are not sent themselves, or at the provider that their configuration names."""
_CLOUDS = {
    "wasbs": ".blob.core.windows.net",
    "abfss": ".dfs.core.windows.net",
    "b2": ".backblazeb2.com",
    "r2": ".r2.cloudflarestorage.com",
}
"""Schemes of buckets whose address names a host, and how the provider's hosts end."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)


def require_own_place(artifact_uri: str, tracking_uri: str) -> None:
    """Refuse artifacts on a host that is not the tracking server's own.

    MLflow sends the tracking server's user, password or token (``MLFLOW_TRACKING_TOKEN``) to whatever
    ``http`` address stands in the database as the place of a run's or a model's artifacts.

    Guarantee:
        Admitted are folders, buckets at their providers, and the tracking server's own host: with ``http``,
        ``https`` and ``mlflow-artifacts`` by the same scheme and port too. Everything else is refused, also
        ``runs:`` and ``models:``, which lead to a place that nobody checked.

    Args:
        artifact_uri: as the database has it.
        tracking_uri: of the store, as :class:`fedpriv.tracking.store.Location` has it.

    Raises:
        UserError: when it is elsewhere.
    """
    try:
        own = _is_own(urlsplit(artifact_uri), urlsplit(tracking_uri))
    except ValueError:  # no address at all
        own = False
    if not own:
        raise UserError(
            f"artifacts={hide_in_text(artifact_uri, ())[:200]}: are neither in a folder or bucket nor on the "
            "tracking server's own host, and would be asked with its password; choose a run whose are"
        )


def _is_own(place: SplitResult, server: SplitResult) -> bool:
    scheme, host = place.scheme, place.hostname or ""
    if scheme in _LOCAL or scheme in _BUCKETS:
        return True
    if scheme in _CLOUDS:
        return host.endswith(_CLOUDS[scheme]) and bool(_HOST.fullmatch(place.netloc.rpartition("@")[2]))
    if scheme == "mlflow-artifacts":
        if not place.netloc:  # below the tracking server's address
            return True
        scheme = server.scheme
    if scheme in _PORTS:
        return (
            # readers differ in what is the host where there is a user or a sign that no host has
            bool(_HOST.fullmatch(place.netloc))
            and (scheme, host) == (server.scheme, server.hostname)
            and (place.port or _PORTS[scheme]) == (server.port or _PORTS[scheme])
        )
    return scheme in ("ftp", "sftp", "hdfs", "viewfs") and bool(host) and host == server.hostname
