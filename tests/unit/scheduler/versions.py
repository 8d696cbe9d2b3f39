"""Tests with another version of Dask, or of anything else, as processes: those of what runs inside schedulers and workers, or others."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = tuple(
    f"tests/unit/scheduler/{name}" for name in ("test_scheduler_control.py", "test_handover.py")
)
VERSIONS = ("2023.3.2", "2024.8.2")


def environment(requirements: Path) -> str:
    """The Python that has these."""
    command = [sys.executable, "ci/venv.py", requirements]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert made.returncode == 0, "see above"
    return made.stdout.strip()


@dataclass
class Run:
    """The tests with one version of Dask, as a process.

    :ivar files: all of one folder.
    :ivar requirements: None: those of the version.
    """

    version: str
    folder: Path
    files: tuple[str, ...] = FILES
    requirements: Path | None = None
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        python = environment(self.requirements or Path(f"tests/dask-{self.version}.txt"))
        words = [
            *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfP"),
            *("-c", os.devnull, "--rootdir", ".", "--confcutdir", Path(self.files[0]).parent),
            *("--basetemp", self.folder / "base", "--durations", "5", *self.files),
        ]
        env = {**os.environ, "PYTHONPATH": "controller:.", "DASK_VERSION_UNDER_TEST": self.version}
        with (self.folder / "output").open("w") as file:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, text=True
            )

    def end(self) -> str:
        """What it printed, once it ended."""
        assert self.process is not None
        self.process.wait(timeout=900)
        text = (self.folder / "output").read_text()
        print(text[-20_000:])
        return text

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
