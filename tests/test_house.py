"""The house rules that no linter knows: layout, imports, lock, licence."""

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.split("\n")[:-1]


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line and not line.startswith("#"))
    }


def test_imports_point_one_way_and_every_library_has_one_home():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " 0 broken" in done.stdout


def test_the_top_level_holds_what_the_design_allows():
    allowed = {
        "fedpriv",
        "configs",
        "experiments",
        "data_tools",
        "tests",
        "docs",
        "deploy",
        ".ci",
        "pyproject.toml",
        "README.md",
        "Makefile",
        "LICENSE",
        "requirements.lock",
        ".gitignore",
    }
    assert {name.split("/")[0] for name in tracked()} <= allowed


def test_the_installed_packages_are_the_locked_ones():
    ours = {"fedpriv", "pip", "setuptools", "wheel"}
    installed = {
        canonicalize_name(found.metadata["Name"]): found.version.partition("+")[0]
        # of the environment alone: ray adds a folder of its own to the path of a process that imports it
        for found in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
    }
    assert "torch" in installed
    lock = locked()
    different = {
        name: (version, lock.get(name))
        for name, version in installed.items()
        if name not in ours
        and lock.get(name) != version
        and not name.startswith(("nvidia-", "triton", "cuda-"))
    }
    assert not different


def test_the_lock_satisfies_every_requirement():
    lock = locked()
    extras = PROJECT["project"]["optional-dependencies"]["dev"]
    for text in [*PROJECT["project"]["dependencies"], *extras]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(lock[canonicalize_name(wanted.name)]), text


def test_no_file_names_a_package_index():
    pattern = re.compile(
        r"index-url|extra-index|https?://[\w.]*(pypi|pythonhosted|download\.pytorch)", re.IGNORECASE
    )
    guilty = [
        name
        for name in tracked()
        if name != "tests/test_house.py"
        and (ROOT / name).suffix in {"", ".toml", ".lock", ".md", ".py", ".yaml", ".txt", ".cfg"}
        and pattern.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert not guilty


def test_the_licence_is_apache_2():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


@pytest.mark.parametrize("target", ["setup", "run", "test", "test-slow", "lint", "bench"])
def test_make_has_the_promised_targets(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ci_calls_make_lint_and_every_test():
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make lint test-all$", script, re.MULTILINE)
    done = subprocess.run(["make", "-n", "test-all"], cwd=ROOT, capture_output=True, text=True, check=True)
    # all tests: of no marker, name or folder
    assert re.search(r"/python -m pytest -n 2 --dist worksteal$", done.stdout, re.MULTILINE)


def test_telemetry_is_off_before_any_library_is_imported():
    code = (
        "import fedpriv, os, sys; assert not {'flwr', 'mlflow', 'ray'} & set(sys.modules); "
        "print(os.environ['FLWR_TELEMETRY_ENABLED'], os.environ['FLWR_DISABLE_UPDATE_CHECK'], "
        "os.environ['MLFLOW_DISABLE_TELEMETRY'], os.environ['RAY_USAGE_STATS_ENABLED'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "true", "0"]
