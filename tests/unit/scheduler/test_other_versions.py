"""What runs inside schedulers and workers also runs with the Dask that users have: the same tests again.

What those versions do wrong themselves is named in `processes.FLAWS`, with what is seen then; nothing else may fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.unit.scheduler.processes import FLAWS, flaws_seen
from tests.unit.scheduler.versions import VERSIONS, Run


def test_flaws_are_those_of_versions_that_are_tried() -> None:
    assert set(FLAWS) <= set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_control_and_hand_over_with(
    version: str,
    other_versions: dict[str, Run],
    record_property: Callable[[str, object], None],
) -> None:
    run = other_versions[version]
    text = run.end()
    assert run.process is not None
    assert run.process.returncode == 0, text[-20_000:]
    assert re.search(r"\b(\d\d+) passed", text), "they ran"
    assert "skipped" not in text
    seen = flaws_seen(text)
    assert seen <= {(version, flaw) for flaw in FLAWS.get(version, ())}
    for _, flaw in sorted(seen):
        record_property("closing", f"distributed {version}: {flaw}")
