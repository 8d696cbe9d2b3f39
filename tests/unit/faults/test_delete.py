"""Every fault while a cluster is deleted, also for being idle."""

from __future__ import annotations

from tests.unit.faults.clusters import cluster_trials

test_a_fault_changes_nothing_in_the_end = cluster_trials(
    "delete when idle", "delete", "delete in the foreground"
)
