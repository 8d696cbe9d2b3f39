"""The unit tier: what waits most begins first and is looked at last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.scheduler.versions import VERSIONS, Run

HERE = Path(__file__).parent
LAST = "test_other_versions.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Its processes run beside all other tests of the tier."""
    unit = [item for item in items if HERE in item.path.parents]
    ordered = iter(sorted(unit, key=lambda item: item.path.name == LAST))
    items[:] = [next(ordered) if HERE in item.path.parents else item for item in items]


@pytest.fixture(scope="session", autouse=True)
def other_versions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Run]]:
    """The tests of what runs inside schedulers and workers with other versions of Dask, if they are wanted."""
    wanted = any(item.path.name == LAST for item in request.session.items)
    made = {v: Run(v, tmp_path_factory.mktemp("dask")) for v in VERSIONS if wanted}
    for run in made.values():
        run.start()
    yield made
    for run in made.values():
        run.kill()
