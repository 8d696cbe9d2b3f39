from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def existing_client() -> str:
    """Python with the existing operator's client."""
    words = [sys.executable, "ci/venv.py", "tests/upstream-requirements.txt"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
