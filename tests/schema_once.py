"""MLflow looks for its newest migration in sixty files whenever it opens a database; once is enough."""

import functools


def read_schema_once() -> None:
    """Have this process, and what is forked from it, look for the newest migration once."""
    from mlflow.store.db import utils

    if not hasattr(utils._get_latest_schema_revision, "cache_info"):
        utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
    utils._get_latest_schema_revision()
