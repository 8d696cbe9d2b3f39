"""Which tests run one after the other in one process, beside the others."""

from __future__ import annotations

TIERS = ("unit", "chart", "cluster", "gitops", "dask")
REAL = ("cluster", "gitops", "dask")  # beside real programs
#: Lanes in the order in which they begin, longest first; all other files are fillers for whoever is free.
LANES = ("gitops", "dask", "cluster-2", "cluster-1", "gitops-empty", "versions")
#: The local Kubernetes of a lane, by name; its programs belong to no process of the tests.
INSTANCES = {
    "cluster-1": "test-cluster-1",
    "cluster-2": "test-cluster-2",
    "gitops": "gitops",
    "gitops-empty": "gitops-empty",
    "dask": "local",
}
_OTHER_VERSIONS = "tests/unit/scheduler/test_other_versions.py"


def tier(nodeid: str) -> str:
    """The folder of tests/ that a test lies in, from its id or that of a fixture's first test."""
    return nodeid.split("/")[1] if nodeid.startswith("tests/") else "other"


def lane(nodeid: str) -> str:
    """Tests that share what they run against: a tier or a part of it; elsewhere a file."""
    where = tier(nodeid)
    if where == "cluster":
        return "cluster-1" if nodeid < "tests/cluster/test_g" else "cluster-2"
    if where == "gitops":
        return "gitops-empty" if nodeid.startswith("tests/gitops/test_bundle.py") else "gitops"
    if where == "dask":
        return "dask"
    if nodeid.startswith(_OTHER_VERSIONS):
        return "versions"
    return nodeid.partition("::")[0]


def account(name: str) -> str:
    """The line of the closing table that a lane is told in: fillers by their tier."""
    return tier(name) if name.startswith("tests/") else name


def place(name: str) -> int:
    """A lane's place in the queue."""
    return LANES.index(name) if name in LANES else len(LANES)
