"""The unit tier: the tests with other versions of Dask run as processes beside what waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.scheduler.versions import VERSIONS, Run


@pytest.fixture(scope="session")
def other_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """The tests of what runs inside schedulers and workers with other versions of Dask, all begun."""
    made = {v: Run(v, tmp_path_factory.mktemp("dask")) for v in VERSIONS}
    for run in made.values():
        run.start()
    yield made
    for run in made.values():
        run.kill()
