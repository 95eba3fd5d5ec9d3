"""Which code and which libraries produced a run."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fedpriv

LIBRARIES = ("flwr", "torch", "opacus", "tenseal", "mlflow")
"""Libraries whose version can change a result."""

UNKNOWN = "unknown"


def git_commit(file: Path | None = None, timeout_s: float = 2.0) -> str:
    """Name the git commit of the code that runs.

    Edge cases:
        Tracked files that differ from the commit add ``-dirty``; untracked files do not count.
        ``unknown`` outside a repository, for a file that its repository does not track (a package
        installed into a virtual environment inside somebody's project), without git, and when
        git takes longer than ``timeout_s``.

    Args:
        file: a source file of the code asked about; by default fedpriv's own.
        timeout_s: limit for each of the three git calls, seconds.
    """
    file = Path(fedpriv.__file__) if file is None else file
    try:
        if not _git(file.parent, timeout_s, "ls-files", "--", file.name):
            return UNKNOWN
        commit = _git(file.parent, timeout_s, "rev-parse", "HEAD")
        dirty = _git(file.parent, timeout_s, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return f"{commit}-dirty" if dirty else commit


def library_versions() -> dict[str, str]:
    """Return ``{"fedpriv_version": "0.1.0", "torch_version": ..., ...}``; a missing one is ``absent``."""
    found = {"fedpriv_version": fedpriv.__version__}
    for name in LIBRARIES:
        try:
            found[f"{name}_version"] = version(name)
        except PackageNotFoundError:
            found[f"{name}_version"] = "absent"
    return found


def _git(folder: Path, timeout_s: float, *arguments: str) -> str:
    # --no-optional-locks: reading the state must never get in the way of a commit at that moment.
    answer = subprocess.run(
        ["git", "--no-optional-locks", *arguments],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=True,
    )
    return answer.stdout.strip()
