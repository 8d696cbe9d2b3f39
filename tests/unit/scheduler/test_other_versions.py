"""What runs inside schedulers and workers also runs with the Dask that users have: the same tests again."""

from __future__ import annotations

import re

import pytest

from tests.unit.scheduler.versions import VERSIONS, Run

TWICE = 2  # so many tests may need a second try: these versions lose a heartbeat or a message now and then


def failures(text: str) -> list[str]:
    """Ids of the tests that failed; those of parameters may have spaces."""
    return re.findall(r"^FAILED (\S+?(?:\[.*?\])?)(?: - .*)?$", text, re.M)


def test_failures_are_found_by_their_whole_names() -> None:
    text = "FAILED a.py::b[ends too]\nFAILED a.py::c - assert [1] == []\nFAILED a.py::d[x] - E\n"
    assert failures(text) == ["a.py::b[ends too]", "a.py::c", "a.py::d[x]"]


@pytest.mark.parametrize("version", VERSIONS)
def test_control_and_hand_over_with(version: str, other_versions: dict[str, Run]) -> None:
    run = other_versions[version]
    text = run.end()
    failed = failures(text)
    assert re.search(r"\b(\d\d+) passed", text), "they ran"
    assert "skipped" not in text
    assert len(failed) <= TWICE, failed
    if failed:
        run.start(*failed)
        text = run.end()
    assert run.process is not None
    assert run.process.returncode == 0, text[-2000:]
