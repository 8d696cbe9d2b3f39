"""What runs inside schedulers and workers also runs with the Dask that users have: the same tests again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = ("test_scheduler_control.py", "test_handover.py")


@pytest.mark.parametrize("version", ["2023.3.2", "2024.8.2"])
def test_control_and_hand_over_with(version: str, tmp_path: Path) -> None:
    requirements = f"tests/dask-{version}.txt"
    made = subprocess.run(
        [sys.executable, "ci/venv.py", requirements], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert made.returncode == 0, "see above"
    run = [
        *(made.stdout.strip(), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-c", os.devnull, "--rootdir", ".", "--confcutdir", "tests/unit/scheduler"),
        *("--basetemp", tmp_path / "base", "--durations", "5"),
        *(f"tests/unit/scheduler/{name}" for name in FILES),
    ]
    env = {**os.environ, "PYTHONPATH": "controller:.", "DASK_VERSION_UNDER_TEST": version}
    done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)
    print(done.stdout[-20_000:], done.stderr[-2000:])
    assert done.returncode == 0
    assert re.search(r"^(\d\d+) passed in ", done.stdout, re.M), "nothing failed, nothing skipped"
