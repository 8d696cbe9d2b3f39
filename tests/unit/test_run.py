"""Green means green: whole runs of made-up tests as processes, with the real conftest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

LANES = pytest.mark.parametrize("lanes", [(), ("-n", "3")], ids=["one-process", "lanes"])
STALLS = """
    from pathlib import Path
    from tests.support.machine import MachineStalled

    def test_{name}():
        mark = Path(__file__).with_suffix(".tried")
        if not mark.exists():
            mark.touch()
            raise {error}
"""


@dataclass
class Ran:
    code: int
    text: str

    @property
    def counts(self) -> tuple[int, int, int]:
        """Passed, failed, skipped, as the last lines say."""
        found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", self.text, re.M)
        return tuple(map(int, found[-1]))  # type: ignore[return-value]


class Made:
    """A folder of made-up tests."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root

    def file(self, name: str, text: str) -> None:
        path = self.folder / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    def run(self, *words: str) -> Ran:
        command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-q", "--no-loadscope-reorder"]  # fmt: skip
        command += ["-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", ".", "-c", os.devnull]  # fmt: skip
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "COV_"))
        }
        env["PYTHONPATH"] = f"{self.root}:{self.root / 'controller'}"
        done = subprocess.run(
            [*command, *words, "tests"], cwd=self.folder, env=env, capture_output=True, text=True
        )
        return Ran(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def made(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv("DASK_GITOPS_TEST_RUN", str(tmp_path / "test-run.json"))
    return Made(tmp_path, root)


@LANES
def test_a_tier_that_does_not_end_well_fails_the_run_and_no_test(
    made: Made, lanes: tuple[str, ...]
) -> None:
    made.file(
        "cluster/conftest.py",
        """
        import pytest
        from tests.support.endings import endings

        @pytest.fixture(scope="package", autouse=True)
        def witness():
            yield
            with endings.noted("the statuses"):
                assert not "one that is not true"

        @pytest.fixture(scope="package", autouse=True)
        def controller(witness):
            yield
            with endings.noted("the controller stops"):
                pytest.fail("it does not")
        """,
    )
    made.file("cluster/test_crds.py", "def test_a(): pass\ndef test_b(): pass\n")
    made.file("cluster/test_job.py", "def test_c(): pass\ndef test_d(): pass\n")
    ran = made.run(*lanes)
    assert ran.counts == (4, 0, 0)
    assert "NOT ENDED WELL: the statuses: assert not 'one that is not true'" in ran.text
    assert "NOT ENDED WELL: the controller stops: it does not" in ran.text
    assert "SECOND TRY" not in ran.text
    assert ran.code == 1


@LANES
def test_a_failed_teardown_is_a_failure_and_counted_once(
    made: Made, lanes: tuple[str, ...]
) -> None:
    made.file(
        "cluster/test_crds.py",
        """
        import pytest

        @pytest.fixture(scope="package")
        def shared():
            yield
            raise ValueError("the lab does not end")

        def test_a(shared): pass
        def test_b(shared): pass
        """,
    )
    ran = made.run(*lanes)
    assert ran.counts == (1, 1, 0)
    assert "SECOND TRY" not in ran.text
    assert ran.code == 1


@LANES
def test_a_second_try_where_the_machine_is_named(made: Made, lanes: tuple[str, ...]) -> None:
    made.file("cluster/test_crds.py", STALLS.format(name="a", error="MachineStalled('9 s late')"))
    made.file("cluster/test_job.py", "def test_b(): pass\n")
    ran = made.run(*lanes)
    assert ran.counts == (2, 0, 0)
    assert "SECOND TRY of tests/cluster/test_crds.py::test_a" in ran.text
    assert "9 s late" in ran.text
    assert ran.code == 0


def test_two_second_tries_fail_the_run(made: Made) -> None:
    made.file("cluster/test_crds.py", STALLS.format(name="a", error="MachineStalled('late')"))
    made.file("dask/test_job.py", STALLS.format(name="b", error="MachineStalled('late')"))
    ran = made.run()
    assert ran.counts == (2, 0, 0)
    assert "2 SECOND TRIES" in ran.text
    assert ran.code == 1


@pytest.mark.parametrize(
    ("file", "name", "error"),
    [
        pytest.param("cluster/test_crds.py", "a", "AssertionError('0 is not 1')", id="assertion"),
        pytest.param("cluster/test_crds.py", "a", "TimeoutError('late')", id="time-out"),
        pytest.param("cluster/test_deletion.py", "a", "MachineStalled('late')", id="one-walk"),
        pytest.param("cluster/test_fault_points.py", "a", "MachineStalled('late')", id="faults"),
        pytest.param("cluster/test_faults.py", "killed", "MachineStalled('late')", id="kills"),
        pytest.param("gitops/test_bundle.py", "a", "MachineStalled('late')", id="bundle"),
        pytest.param("dask/test_scale.py", "a", "MachineStalled('late')", id="loses-nothing"),
        pytest.param("cluster/test_job.py", "nothing_is_lost", "MachineStalled('late')", id="name"),
        pytest.param("unit/test_words.py", "a", "MachineStalled('late')", id="unit"),
    ],
)
def test_no_second_try(made: Made, file: str, name: str, error: str) -> None:
    made.file(file, STALLS.format(name=name, error=error))
    ran = made.run()
    assert ran.counts == (0, 1, 0)
    assert "SECOND TRY" not in ran.text
    assert ran.code == 1


def test_what_is_skipped_is_not_shown(made: Made) -> None:
    made.file("unit/test_x.py", "import pytest\ndef test_a(): pytest.skip('no network')\n")
    ran = made.run()
    assert ran.counts == (0, 0, 1)
    assert "SKIPPED, so not shown: tests/unit/test_x.py::test_a" in ran.text
    assert ran.code == 1


@LANES
def test_the_end_tells_where_the_time_went(made: Made, lanes: tuple[str, ...]) -> None:
    made.file(
        "cluster/test_crds.py",
        """
        import time
        from tests.support.kubernetes import run

        def test_a():
            time.sleep(0.3)
            run("kubectl", "version", "--client")
        """,
    )
    made.file("unit/test_x.py", "def test_b(): pass\n")
    ran = made.run(*lanes)
    (line,) = re.findall(r"^  cluster-1 +(\d+) s +(\d+) s +(\d+) s +(\d+)$", ran.text, re.M)
    assert line[3] == "1"
    assert re.search(r"^  unit ", ran.text, re.M)
    assert "Slowest tests" in ran.text
    written = (made.folder / "test-run.json").read_text()
    assert '"waits": 0.3' in written
    assert '"fixed_work_cpu_seconds"' in written
