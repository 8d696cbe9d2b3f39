from __future__ import annotations

import pytest
from dask_gitops.resources.finalizers import without_kopf


@pytest.mark.parametrize(
    "old",
    [
        "kopf.zalando.org/KopfFinalizerMarker",
        "kopf.dev/KopfFinalizerMarker",
        "KopfFinalizerMarker",
    ],
)
def test_only_kopfs_own_go(old: str) -> None:
    others = ("foregroundDeletion", "example.com/KopfFinalizerMarker", "plugin.dask.org/finalizer")
    assert without_kopf([others[0], old, *others[1:]]) == others
    assert without_kopf([old]) == without_kopf([]) == ()
    assert without_kopf(others) == others
