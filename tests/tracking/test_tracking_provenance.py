import shutil
import subprocess

import pytest

import fedpriv
from fedpriv.tracking import provenance
from fedpriv.tracking.provenance import git_commit, library_versions


@pytest.fixture
def repository(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)

    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-qm", "m")
    return tmp_path, git("rev-parse", "HEAD")


def test_commit_of_a_clean_repository(repository):
    folder, commit = repository
    (folder / "untracked.py").write_text("2")
    assert git_commit(folder / "code.py") == commit


def test_changed_tracked_file_is_dirty(repository):
    folder, commit = repository
    (folder / "code.py").write_text("2")
    assert git_commit(folder / "code.py") == f"{commit}-dirty"


def test_file_that_the_repository_does_not_track_is_unknown(repository):
    folder, _ = repository
    (folder / "installed.py").write_text("2")
    assert git_commit(folder / "installed.py") == "unknown"


def test_outside_a_repository_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "code.py").write_text("1")
    assert git_commit(tmp_path / "code.py") == "unknown"


def test_without_git_is_unknown(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_commit(repository[0] / "code.py") == "unknown"


def test_git_that_hangs_is_unknown(repository, monkeypatch):
    program = repository[0] / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert git_commit(repository[0] / "code.py", timeout_s=0.2) == "unknown"


def test_versions_name_every_library(monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARIES", ("mlflow", "no-such-library"))
    found = library_versions()
    import mlflow

    assert found == {
        "fedpriv_version": fedpriv.__version__,
        "mlflow_version": mlflow.__version__,
        "no-such-library_version": "absent",
    }
