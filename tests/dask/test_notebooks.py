"""docs/notebooks, run as a person runs them, on a machine outside of Kubernetes with a kubeconfig."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.support.kubernetes import Kubectl

ROOT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"


def run(kubectl: Kubectl, folder: Path, name: str) -> dict[str, Any]:
    """The notebook with what its cells put out, in the namespace of kubectl."""
    command = [sys.executable, "ci/venv.py", "tests/notebooks-requirements.txt"]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    home = folder / name
    home.mkdir()
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    for context in config["contexts"]:
        context["context"]["namespace"] = kubectl.namespace
    (home / "kubeconfig").write_text(yaml.safe_dump(config))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "USER": "ann",
        "KUBECONFIG": str(home / "kubeconfig"),
        "PYTHONPATH": str(ROOT / "controller"),
    }
    source, target = ROOT / f"docs/notebooks/{name}.ipynb", home / "out.ipynb"
    words = [made.stdout.strip(), ROOT / "tests/support/run_notebook.py", source, target]
    done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ran: dict[str, Any] = json.loads(target.read_text())
    return ran


def put_out(ran: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """By each cell of code."""
    return [cell["outputs"] for cell in ran["cells"] if cell["cell_type"] == "code"]


def value(outputs: list[dict[str, Any]], kind: str = "text/plain") -> str:
    """Of the cell's last expression."""
    (found,) = [each["data"] for each in outputs if each["output_type"] == "execute_result"]
    return "".join(found[kind])


def said(outputs: list[dict[str, Any]]) -> str:
    """Lines and displays beside it."""
    return json.dumps([each for each in outputs if each["output_type"] != "execute_result"])


def test_all_of_them(kubectl: Kubectl, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "docs/notebooks").glob("*.ipynb"))
    assert {"adaptive", "quickstart", "worker-groups"} <= set(names)
    with ThreadPoolExecutor(len(names)) as side_by_side:
        made = side_by_side.map(partial(run, kubectl, tmp_path), names)
        ran = dict(zip(names, made, strict=True))
    outputs = {name: put_out(one) for name, one in ran.items()}

    start, picture, total, futures, more, link, _ = outputs["quickstart"]
    _, added, kinds, scaled, _, _ = outputs["worker-groups"]
    assert "dashboard http://127.0.0.1" in said(start)
    for cell, name, word in (
        (picture, "quickstart", "quickstart-ann"),
        (scaled, "worker-groups", "large"),
    ):
        (shown,) = [each["data"] for each in cell if WIDGET in each.get("data", {})]
        assert word in "".join(shown["text/html"])
        assert word in json.dumps(ran[name]["metadata"]["widgets"])
    assert (value(total), value(futures)) == ("328350", "55")
    assert value(more).count("quickstart-ann-default-worker-") == 3
    assert value(link).startswith("'http://127.0.0.1:")

    assert value(added) == "['groups-ann-default', 'groups-ann-large']"
    assert value(kinds) == "['large', 'large', 'large']"

    adapting, gathered, idle, fixed, _ = outputs["adaptive"]
    assert value(adapting) == "<Adapting default: 0 to 3 workers>"
    assert (value(gathered), value(idle), value(fixed)) == ("435", "0", "1")
    assert kubectl.list("daskclusters") == []
