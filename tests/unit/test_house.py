"""The rules of the house, checked like everything else: style, types, and which room may import which."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
#: What mypy checks, each with its own idea of what a module is called.
TYPES = {
    "types": [],
    "types-of-the-local-kubernetes": ["--strict", "ci/kubernetes"],
    "types-of-the-lab": ["--strict", "ci/gitops"],
    "types-of-the-demo": ["--strict", "ci/demo/__main__.py"],
    "types-of-the-bench": ["--follow-imports", "silent", "bench"],
}
#: One process for all of them, as most of a run is its start.
MYPY = """
import json, sys
from mypy import api
print(json.dumps({name: api.run([*words, "--cache-dir", sys.argv[2]]) for name, words in json.loads(sys.argv[1]).items()}))
"""


@pytest.fixture(scope="module")
def types(root: Path) -> dict[str, tuple[str, str, int]]:
    """What mypy said of each: output, errors, exit code. Its cache lies where a fresh clone finds it, too."""
    cache = BIN.parent  # the environment that holds this very mypy
    env = {**os.environ, "PYTHONPATH": "controller", "MYPYPATH": "ci/demo:ci/kubernetes"}
    command = [sys.executable, "-c", MYPY, json.dumps(TYPES), f"{cache}/mypy-cache"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[str, str, int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", TYPES)
def test_types(types: dict[str, tuple[str, str, int]], name: str) -> None:
    output, errors, code = types[name]
    assert code == 0, output + errors


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check"], id="ruff"),
        pytest.param(["ruff", "format", "--check"], id="format"),
        pytest.param(["lint-imports"], id="layers"),
    ],
)
def test_rule(command: list[str], root: Path) -> None:
    env = {**os.environ, "PYTHONPATH": "controller"}
    words = [BIN / command[0], *command[1:]]
    done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_ours_is_false_because_it_is_empty(root: Path) -> None:
    """``a or b`` and ``if a`` ask whether there is one: an empty cache is one. Its size has a name."""
    found = [
        f"{path.relative_to(root)}:{item.lineno} {item.name}"
        for path in sorted((root / "controller" / "dask_gitops").rglob("*.py"))
        for item in ast.walk(ast.parse(path.read_text()))
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        and item.name in ("__len__", "__bool__")
    ]
    assert found == []
