"""Every fault while a job loses its cluster or its node, or is removed."""

from __future__ import annotations

from tests.unit.faults.jobs import job_trials

test_a_fault_changes_no_end_of_a_job = job_trials(
    "cluster deleted", "node lost", "expire", "delete"
)
