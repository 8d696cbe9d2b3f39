"""docs/notebooks as they are committed: fresh, and of names that exist. tests/dask/test_notebooks.py runs them."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from dask_gitops import KubeCluster

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs/notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return found


def code(path: Path) -> ast.Module:
    return ast.parse(
        "\n".join("".join(c["source"]) for c in cells(path) if c["cell_type"] == "code")
    )


def test_there_are_some() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"adaptive", "quickstart", "worker-groups"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_that_a_run_left_is_committed(path: Path) -> None:
    told = json.loads(path.read_text())
    assert (told["nbformat"], told["nbformat_minor"]) == (4, 5)
    assert set(told["metadata"]) == {"kernelspec", "language_info"}
    assert told["metadata"]["kernelspec"]["name"] == "python3"
    assert told["metadata"]["language_info"] == {"name": "python"}
    for cell in told["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    names = [cell["id"] for cell in told["cells"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_name_and_argument_exists(path: Path) -> None:
    known, used = set(dir(builtins)), set()
    for node in ast.walk(code(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef):
            known |= {node.name, *(each.arg for each in node.args.args)}
        elif isinstance(node, ast.Lambda):
            known |= {each.arg for each in node.args.args}
        elif isinstance(node, ast.Name):
            (known if isinstance(node.ctx, ast.Store) else used).add(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cluster":
            assert hasattr(KubeCluster, node.attr)
        elif isinstance(node, ast.Call):
            made = ast.unparse(node.func)
            target = KubeCluster if made == "KubeCluster" else None
            if made.startswith("cluster."):
                target = getattr(KubeCluster, made.removeprefix("cluster."))
            if target is not None:
                assert {word.arg for word in node.keywords} <= set(
                    inspect.signature(target).parameters
                )
    assert used <= known


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_ends_with_what_it_made(path: Path) -> None:
    last = "".join(cells(path)[-1]["source"])
    assert last.splitlines()[-1] == "cluster.close()"
