"""Commands in documents: every fenced block says what it is, and tests run those that a person would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", "dist", "build", ".*_cache")


def blocks(path: Path) -> list[tuple[str, str]]:
    """Mark (the words behind the fence) and text of each fenced block, in order."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text, flags=re.MULTILINE)


def of(path: Path, mark: str) -> list[str]:
    """The texts of the blocks with this mark."""
    return [text for name, text in blocks(path) if name == mark]


def copy_of_source(folder: Path) -> Path:
    """The repository as somebody has it who has just cloned it."""
    return Path(shutil.copytree(ROOT, folder / "dask-gitops", ignore=LEFT_OUT))


def shell(scripts: list[str], folder: Path, **env: str) -> str:
    """What scripts print that a person runs one after the other in one terminal, beginning in a folder.

    :raises AssertionError: when one of their commands fails.
    """
    who = {
        f"GIT_{role}_{what}": "test@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(scripts)],
        cwd=folder, env={**os.environ, **who, **env}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout
