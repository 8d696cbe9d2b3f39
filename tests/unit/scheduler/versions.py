"""The tests of what runs inside schedulers and workers, with another version of Dask, as processes."""

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


@dataclass
class Run:
    """The tests with one version of Dask, as a process."""

    version: str
    folder: Path
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "ci/venv.py", f"tests/dask-{self.version}.txt"]
        made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert made.returncode == 0, "see above"
        words = [
            *(made.stdout.strip(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfP"),
            *("-c", os.devnull, "--rootdir", ".", "--confcutdir", "tests/unit/scheduler"),
            *("--basetemp", self.folder / "base", "--durations", "5", *FILES),
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
