"""What runs inside schedulers and workers also runs with the Dask that users have: the same tests again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = tuple(
    f"tests/unit/scheduler/{name}" for name in ("test_scheduler_control.py", "test_handover.py")
)
VERSIONS = ("2023.3.2", "2024.8.2")


TWICE = 2  # so many tests may need a second try: these versions lose a heartbeat or a message now and then


@dataclass
class Run:
    """The tests with one version of Dask, as a process."""

    version: str
    folder: Path
    process: subprocess.Popen[str] | None = None

    def start(self, *tests: str) -> None:
        command = [sys.executable, "ci/venv.py", f"tests/dask-{self.version}.txt"]
        made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert made.returncode == 0, "see above"
        words = [
            *(made.stdout.strip(), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf"),
            *("-c", os.devnull, "--rootdir", ".", "--confcutdir", "tests/unit/scheduler"),
            *("--basetemp", self.folder / "base", "--durations", "5", *tests),
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All versions side by side, as they wait for their workers most of the time."""
    made = {version: Run(version, tmp_path_factory.mktemp("dask")) for version in VERSIONS}
    for run in made.values():
        run.start(*FILES)
    yield made
    for run in made.values():
        if run.process is not None:
            run.process.kill()
            run.process.wait()


@pytest.mark.parametrize("version", VERSIONS)
def test_control_and_hand_over_with(version: str, runs: dict[str, Run]) -> None:
    run = runs[version]
    text = run.end()
    failed = re.findall(r"^FAILED (\S+)", text, re.M)
    assert re.search(r"\b(\d\d+) passed", text), "they ran"
    assert "skipped" not in text
    assert len(failed) <= TWICE, failed
    if failed:
        run.start(*failed)
        text = run.end()
    assert run.process is not None
    assert run.process.returncode == 0, text[-2000:]
