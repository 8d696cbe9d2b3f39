"""What a user's pod sends is data. Nothing in the controller's process could make code of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "controller" / "dask_gitops"
# Runs inside users' own pods, never in the controller's process.
INSIDE_USERS_PODS = {"scheduler/control.py", "scheduler/handover.py", "scheduler/health.py"}
MODULES = {
    "cloudpickle", "code", "codeop", "dask", "dill", "distributed", "jsonpickle", "marshal",
    "msgpack", "pickle", "runpy", "shelve", "tblib", "xml", "xmlrpc",
}  # fmt: skip
# The Python client and the command's doctor are clients of Dask, in their user's own process; no room of the controller
# may import them.
CLIENTS = {"dask", "distributed"}
CLIENT_ROOMS = ("client/", "cli/doctor/")
CALLS = {"eval", "exec", "compile", "__import__"}
YAML = {"load", "load_all", "full_load", "unsafe_load", "unsafe_load_all"}


def offences(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        imported: list[str] = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported = [node.module]
        for name in imported:
            if name.split(".")[0] in MODULES or name.startswith("multiprocessing"):
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Name) and node.id in CALLS:
            yield f"line {node.lineno}: {node.id}"
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in {("yaml", word) for word in YAML}
        ):
            yield f"line {node.lineno}: yaml.{node.attr}"


@pytest.mark.parametrize("path", sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py")))
def test_no_way_from_data_to_code(path: str) -> None:
    if path not in INSIDE_USERS_PODS:
        found = list(offences((PACKAGE / path).read_text()))
        if path.startswith(CLIENT_ROOMS):
            found = [why for why in found if why.split()[-1].split(".")[0] not in CLIENTS]
        assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from distributed.core import rpc",
        "def f():\n    import cloudpickle as c",
        "eval('1')",
        "run = exec",
        "yaml.load(x, Loader=yaml.Loader)",
        "from multiprocessing import Pool",
    ],
)
def test_it_is_noticed(source: str) -> None:
    assert list(offences(source))


def test_what_the_process_loads() -> None:
    """Also not by way of what it imports; the standard library's own pickle aside, which some load and none calls."""
    code = "import sys, dask_gitops.main; print(*sys.modules)"
    env = {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & {"cloudpickle", "dask", "dill", "distributed", "jsonpickle", "tornado"} == set()
