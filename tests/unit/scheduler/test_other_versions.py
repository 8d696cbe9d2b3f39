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
FILES = ("test_scheduler_control.py", "test_handover.py")
VERSIONS = ("2023.3.2", "2024.8.2")


@dataclass(frozen=True)
class Run:
    process: subprocess.Popen[str]
    output: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All versions side by side, as they wait for their workers most of the time."""
    started = {version: _start(version, tmp_path_factory.mktemp("dask")) for version in VERSIONS}
    yield started
    for run in started.values():
        run.process.kill()
        run.process.wait()


def _start(version: str, folder: Path) -> Run:
    command = [sys.executable, "ci/venv.py", f"tests/dask-{version}.txt"]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert made.returncode == 0, "see above"
    words = [
        *(made.stdout.strip(), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-c", os.devnull, "--rootdir", ".", "--confcutdir", "tests/unit/scheduler"),
        *("--basetemp", folder / "base", "--durations", "5"),
        *(f"tests/unit/scheduler/{name}" for name in FILES),
    ]
    env = {**os.environ, "PYTHONPATH": "controller:.", "DASK_VERSION_UNDER_TEST": version}
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            words, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, text=True
        )
    return Run(process, output)


@pytest.mark.parametrize("version", VERSIONS)
def test_control_and_hand_over_with(version: str, runs: dict[str, Run]) -> None:
    run = runs[version]
    code = run.process.wait(timeout=900)
    text = run.output.read_text()
    print(text[-20_000:])
    assert code == 0
    assert re.search(r"^(\d\d+) passed in ", text, re.M), "nothing failed, nothing skipped"
