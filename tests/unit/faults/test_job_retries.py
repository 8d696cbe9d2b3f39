"""Every fault while a job fails, is tried again, or runs over its time."""

from __future__ import annotations

from tests.unit.faults.jobs import job_trials

test_a_fault_changes_no_end_of_a_job = job_trials("retry", "deadline", "runner deleted")
