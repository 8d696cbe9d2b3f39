"""Starts what a tier runs against. A tier that cannot start fails each of its tests with one sentence, and the others go on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence

import pytest

_why: dict[str, str] = {}


def started(tier: str, command: Sequence[str]) -> str:
    """Output of a command that the tier needs; what it says while it works is shown. It is not tried twice."""
    if tier not in _why:
        with tempfile.TemporaryFile("w+") as output:
            said, code = _run(command, output)
            if code == 0:
                output.seek(0)
                return output.read().strip()
        reason = said.rpartition("error: ")[2].strip() or f"exit code {code}"
        _why[tier] = f"the {tier} tier cannot run: {reason} ({' '.join(command)})"
    pytest.fail(_why[tier], pytrace=False)


def _run(command: Sequence[str], output: tempfile._TemporaryFileWrapper[str]) -> tuple[str, int]:
    with subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            sys.stderr.write(line)
            lines.append(line)
    return "".join(lines), process.returncode
