"""The earlier state of this project that versions are tried against."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.controller_process import ROOT
from tests.support.kubernetes import run

VERSION = "0.1.0-alpha.1"
COMMIT = "4f7e89e"  # the same, for a clone without tags
NAMES = (f"v{VERSION}", COMMIT)


def unpack(scratch: Path, checkout: Path = ROOT) -> Path:
    """All its files, in a new folder below that one; a checkout without them fails the test in one sentence."""
    if why := missing(checkout):
        pytest.fail(why, pytrace=False)
    folder, archive = scratch / "earlier", scratch / "earlier.tar"
    known = next(name for name in NAMES if _git(checkout, "cat-file", "-e", name).returncode == 0)
    folder.mkdir()
    run("git", "-C", checkout, "archive", f"--output={archive}", known)
    run("tar", "-xf", archive, "-C", folder)
    return folder


def missing(checkout: Path = ROOT) -> str:
    """Why this checkout cannot give that state, and what to do; nothing if it can."""
    what = f"this test needs the history of {checkout} back to v{VERSION}"
    if not shutil.which("git"):
        return f"{what}, and git is not on PATH: install git"
    if any(_git(checkout, "cat-file", "-e", name).returncode == 0 for name in NAMES):
        return ""
    asked = _git(checkout, "rev-parse", "--is-shallow-repository")
    if "dubious ownership" in asked.stderr:
        remedy = f"git config --global --add safe.directory {checkout}"
        return f"{what}, and git does not read another user's repository: {remedy}"
    if asked.returncode:
        return (
            f"{what}, and it is no git repository: clone the project instead of copying its files"
        )
    if asked.stdout.strip() == "true":
        return f"{what}, and the clone is shallow: git fetch --unshallow --tags"
    return f"{what}, and the clone does not have it: git fetch --tags"


def _git(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", checkout, *words], capture_output=True, text=True, errors="replace"
    )
