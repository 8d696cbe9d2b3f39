"""Make the virtual environment of the tests, once per content of tests/requirements.txt; print its Python.

It lies in the cache folder outside the tree, so that a fresh clone finds it too. Another file of requirements, named as
the argument, has one of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "tests" / "requirements.txt"


def cache() -> Path:
    """The same folder as that of the local Kubernetes' programs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DASK_GITOPS_CACHE") or Path(base) / "dask-gitops")


def main(requirements: Path = REQUIREMENTS) -> None:
    if not requirements.is_file():
        sys.exit(f"error: {requirements}: no such file; name one of the requirements in tests/")
    version = "{}.{}.{}".format(*sys.version_info[:3])
    content = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:12]
    home = cache() / f"venv-{content}"
    if not (home / "complete").exists():
        if sys.version_info < (3, 11):  # noqa: UP036 (that is what is asked here)
            sys.exit(
                f"error: Python 3.11 or newer is needed, this is {version}; use make PYTHON=python3.12"
            )
        cache().mkdir(parents=True, exist_ok=True)
        with (cache() / f"{home.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever waited finds it complete
            if not (home / "complete").exists():
                make(home, requirements)
    print(home / "bin" / "python")


def make(home: Path, requirements: Path) -> None:
    """Make it; `complete` says that nothing of it is missing."""
    what = "virtual environment of the tests"
    started = time.monotonic()
    print(f"{what}: installing {requirements.name}", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]  # fmt: skip
    for command in ([sys.executable, "-m", "venv", home], [*pip, "-r", requirements]):
        if subprocess.run(command, stdout=sys.stderr).returncode:
            sys.exit(
                f"error: {' '.join(map(str, command))} failed; is the package index reachable?"
            )
    (home / "complete").touch()
    print(f"{what}: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
