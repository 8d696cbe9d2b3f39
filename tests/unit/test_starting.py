"""A tier that cannot start: each of its tests fails with the sentence of the tool, and the other tiers go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import starting

ROOT = Path(__file__).parents[2]

CONFTEST = """
import sys
import pytest
from tests.support.starting import started

@pytest.fixture(scope="session")
def place():
    program = "import sys; open('calls', 'a').write('x'); print('starting', file=sys.stderr); "
    return started("t", [sys.executable, "-c", program + "sys.exit('error: OpenSSL 3 is needed')"])
"""
TESTS = "import pytest\ndef test_fine(): pass\n" + "".join(
    f"def test_{name}(place): pass\n" for name in "abc"
)


def test_output(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('a path'); print('begins', file=sys.stderr)"
    assert starting.started("fine", [sys.executable, "-c", program]) == "a path"
    assert capfd.readouterr().err == "begins\n"


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["alone", "beside others"])
def test_a_sentence_per_test(tmp_path: Path, processes: list[str]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    command = [sys.executable, "-m", "pytest", "-ra", "--color=no", *processes]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    for name in "abc":
        line = f"ERROR test_it.py::test_{name} - Failed: the t tier cannot run: OpenSSL 3 is needed"
        assert line in done.stdout
    assert "1 passed, 3 errors" in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr
    calls = len((tmp_path / "calls").read_text())
    assert 1 <= calls <= max(1, len(processes))  # once per process
