"""docs/python.md says what is: each block compiles, each name, argument and setting in it exists."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask_gitops
import pytest
import yaml
from dask_gitops import KubeCluster
from dask_gitops.client import errors
from dask_gitops.client.settings import KEYS
from distributed import LocalCluster

TEXT = (Path(__file__).parents[3] / "docs/python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SETTINGS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

OBJECTS = ("cluster", "KubeCluster")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def column(text: str) -> list[str]:
    """What stands in ``code`` in the first cells of a table."""
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def parsed(block: str) -> ast.Module:
    compile(block, "docs/python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return ast.parse(block)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_name_of_a_block_exists(block: str) -> None:
    known = {"cluster", "client", "error", *dir(builtins)}
    for earlier in BLOCKS[: BLOCKS.index(block) + 1]:
        for node in ast.walk(parsed(earlier)):
            if isinstance(node, ast.ImportFrom):
                assert node.module is not None
                module = __import__(node.module, fromlist=["x"])
                for alias in node.names:
                    assert hasattr(module, alias.name)
                    known.add(alias.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
    used = {node.id for node in ast.walk(parsed(block)) if isinstance(node, ast.Name)}
    assert used <= known


def calls(block: str) -> Iterator[tuple[Any, list[str | None], int]]:
    """Of `KubeCluster` and of its objects: what is called, with which words, and how many before them."""
    for node in ast.walk(parsed(block)):
        if not isinstance(node, ast.Call):
            continue
        target, function = node.func, None
        if isinstance(target, ast.Name) and target.id == "KubeCluster":
            function = KubeCluster
        elif isinstance(target, ast.Attribute) and ast.unparse(target.value) in OBJECTS:
            function = getattr(KubeCluster, target.attr)
        if function is not None:
            yield function, [word.arg for word in node.keywords], len(node.args)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_argument_of_a_call_exists(block: str) -> None:
    for function, words, before in calls(block):
        parameters = inspect.signature(function).parameters
        named = {name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
        assert set(words) <= named, function
        places = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert before <= len(places), function


def test_every_attribute_that_is_named_exists() -> None:
    for name in re.findall(r"\bcluster\.([a-z_]+)", TEXT):
        assert hasattr(KubeCluster, name), name
    for name in re.findall(r"`dask_gitops\.([A-Za-z_]+)`", TEXT):
        assert hasattr(dask_gitops, name), name


def test_every_argument_is_told_once() -> None:
    parameters = inspect.signature(KubeCluster).parameters
    assert sorted(column(section("What it is made of"))) == sorted(set(parameters) - {"classic"})


def test_every_error_is_told() -> None:
    told = section("Errors")
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert {*column(told), "DaskGitopsError", "CrashLoopBackOffError"} == set(classes)
    for row in re.findall(r"^\| (`[^|]+) \| `(\w+)` \|", told, re.MULTILINE):
        base = getattr(builtins, row[1], classes.get(row[1]))
        assert base is not None
        for name in re.findall(r"`([^`]+)`", row[0]):
            assert issubclass(classes[name], base)


@pytest.mark.parametrize("block", SETTINGS)
def test_every_setting_exists(block: str) -> None:
    def keys(value: Any, path: str = "") -> Iterator[str]:
        if not isinstance(value, dict):
            yield path
            return
        for key, inner in value.items():
            yield from keys(inner, f"{path}.{key}" if path else key)

    ours = yaml.safe_load(block)["kubernetes"]
    assert set(keys(ours)) <= set(KEYS.values())


def test_the_first_example_computes_within_ten_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Played(LocalCluster):
        def __init__(self, *, name: str, n_workers: int) -> None:
            super().__init__(n_workers=n_workers, processes=False, dashboard_address=None)

    assert len(BLOCKS[0].splitlines()) <= 10
    monkeypatch.setattr(dask_gitops, "KubeCluster", Played)
    exec(compile(BLOCKS[0], "docs/python.md", "exec"), {})
    assert capsys.readouterr().out == "45\n"
