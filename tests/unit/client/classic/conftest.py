"""Each test is a process of its own as far as warnings and the configuration go."""

from __future__ import annotations

from collections.abc import Iterator

import dask.config
import pytest
from dask_gitops.client.classic import front


@pytest.fixture(autouse=True)
def nobody_was_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(front, "_told", set())
    with dask.config.set(config=dask.config.config, kubernetes={}):
        yield
