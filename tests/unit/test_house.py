"""The rules of the house, checked like everything else: style, types, and which room may import which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check"], id="ruff"),
        pytest.param(["ruff", "format", "--check"], id="format"),
        pytest.param(["mypy"], id="types"),
        pytest.param(["mypy", "--strict", "ci/kubernetes"], id="types-of-the-local-kubernetes"),
        pytest.param(["mypy", "--strict", "ci/gitops"], id="types-of-the-lab"),
        pytest.param(["mypy", "--strict", "ci/demo/__main__.py"], id="types-of-the-demo"),
        pytest.param(["lint-imports"], id="layers"),
    ],
)
def test_rule(command: list[str], root: Path) -> None:
    tool = Path(sys.executable).parent / command[0]
    env = {**os.environ, "PYTHONPATH": "controller", "MYPYPATH": "ci/demo:ci/kubernetes"}
    done = subprocess.run([tool, *command[1:]], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
