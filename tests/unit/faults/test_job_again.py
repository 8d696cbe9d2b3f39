"""Every fault while a job runs once more."""

from __future__ import annotations

from tests.unit.faults.jobs import job_trials

test_a_fault_changes_no_end_of_a_job = job_trials("once more", "apply anew")
