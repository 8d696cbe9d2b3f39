"""Every fault while a removed group is drained."""

from __future__ import annotations

from tests.unit.faults.clusters import cluster_trials

test_a_fault_changes_nothing_in_the_end = cluster_trials("remove a group")
