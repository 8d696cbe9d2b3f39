"""Every fault while a lost worker or a changed scheduler is replaced."""

from __future__ import annotations

from tests.unit.faults.clusters import cluster_trials

test_a_fault_changes_nothing_in_the_end = cluster_trials("delete a worker", "roll the scheduler")
