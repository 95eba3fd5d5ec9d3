"""What forks of ``command_forks`` are spared, because it is the same every time.

A fresh database is a copy of the first one that was made.
"""

import atexit
import importlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DATABASES = {
    "fedpriv.tracking.store": "_create_database",
    "fedpriv.sweeps.search.storage": "_create",
}
"""What makes databases: functions whose first argument is the path."""


def use(arguments: Sequence[str], kept: Path) -> None:
    """Spare this fork's command that; ``kept`` is the folder of the databases that are copied.

    Searches alone import what makes databases for them.
    """
    for module, name in DATABASES.items():
        if "search" not in module or any("search" in each for each in arguments):
            owner = importlib.import_module(module)
            setattr(owner, name, _copying(getattr(owner, name), kept / module))


def _copying(create: Callable[..., None], template: Path) -> Callable[..., None]:
    def copied(database: Path, *given: Any) -> None:
        fresh = not database.exists() or not database.stat().st_size
        if not fresh or not template.exists():
            create(database, *given)
        source, target = (template, database) if template.exists() else (database, template)
        if fresh:
            own = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copy(source, own)
            own.replace(target)

    return copied


def leave(code: int) -> None:
    """End this process as the interpreter does, but for taking everything apart: that takes half a second."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
