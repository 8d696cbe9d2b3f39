"""A checkout without the history that some tests need says so in one sentence."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import earlier

ALONE = {"GIT_CEILING_DIRECTORIES": "/", "GIT_CONFIG_GLOBAL": "/dev/null"}


def git(*words: str | Path) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *author, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, and nothing of this project's history."""
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "whole"
    git("init", "--quiet", folder)
    for number in "12":
        git("-C", folder, "commit", "--quiet", "--allow-empty", "-m", number)
    return folder


def test_no_such_history(checkout: Path) -> None:
    assert earlier.missing(checkout).endswith("does not have it: git fetch --tags")


def test_a_shallow_clone(checkout: Path, tmp_path: Path) -> None:
    git("clone", "--quiet", "--depth=1", f"file://{checkout}", tmp_path / "shallow")
    assert earlier.missing(tmp_path / "shallow").endswith("shallow: git fetch --unshallow --tags")


def test_another_users_repository(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        for path in (checkout, checkout / ".git"):
            os.chown(path, 4711, 4711)
    else:  # git's own switch, as only root can give a folder away
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    remedy = f"git config --global --add safe.directory {checkout}"
    assert earlier.missing(checkout).endswith(f"another user's repository: {remedy}")


def test_files_without_a_repository(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "copied").mkdir()
    assert "it is no git repository" in earlier.missing(tmp_path / "copied")


def test_no_git(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert earlier.missing(checkout).endswith("git is not on PATH: install git")


def test_the_sentence_is_all_that_a_test_says(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="needs the history") as failed:
        earlier.unpack(tmp_path, checkout)
    assert not failed.value.pytrace
