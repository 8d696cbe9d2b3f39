"""Pure: (desired, observed, now) -> what to do next, and what to report."""
