"""Which tests run one after the other in one process, beside the others."""

from __future__ import annotations

TIERS = ("unit", "chart", "cluster", "gitops", "dask")


def tier(nodeid: str) -> str:
    """The folder of tests/ that a test lies in, from its id or that of a fixture's first test."""
    return nodeid.split("/")[1] if nodeid.startswith("tests/") else "other"


def lane(nodeid: str) -> str:
    """A tier, as its tests share what they run against; of the cluster tier a half, by the names of its files."""
    where = tier(nodeid)
    if where != "cluster":
        return where
    return "cluster-1" if nodeid < "tests/cluster/test_g" else "cluster-2"
