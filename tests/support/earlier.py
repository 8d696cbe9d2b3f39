"""The earlier state of this project that versions are tried against."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.controller_process import ROOT
from tests.support.kubernetes import run

VERSION = "0.1.0-alpha.1"
COMMIT = "4f7e89e"  # the same, for a clone without tags


def unpack(scratch: Path) -> Path:
    """All its files, in a new folder below that one.

    :raises AssertionError: this checkout does not have them.
    """
    folder, archive = scratch / "earlier", scratch / "earlier.tar"
    git = ("git", "-C", str(ROOT))
    names = (f"v{VERSION}", COMMIT)
    known = [n for n in names if not subprocess.run([*git, "cat-file", "-e", n]).returncode]
    assert known, f"no history back to v{VERSION} in this checkout: git fetch --tags --unshallow"
    folder.mkdir()
    run(*git, "archive", f"--output={archive}", known[0])
    run("tar", "-xf", archive, "-C", folder)
    return folder
