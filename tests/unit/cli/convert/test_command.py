"""`dask-gitops convert`: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from dask_gitops.cli.group import gitops
from dask_gitops.kube import DASKAUTOSCALERS, DASKCLUSTERS, DASKWORKERGROUPS

from tests.support.conversions import CHART, CLASSIC, OPERATOR
from tests.unit.cli.conftest import Typed


def convert(*words: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(gitops, ["convert", *map(str, words)], input=stdin)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("worker-spec.yml", CLASSIC["documented"]),
        ("all.yaml", OPERATOR["all"]),
        ("chart.yaml", CHART["usual"]),
        ("broken.yaml", "a: [\n"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    return tmp_path


def test_all_is_carried_over(files: Path) -> None:
    done = convert("chart.yaml")
    assert done.exit_code == 0
    assert done.stderr == ""
    (name,) = yaml.safe_load(done.stdout)["clusters"]
    assert name == "dask"
    assert yaml.safe_load(convert("chart.yaml", "--name", "lab").stdout)["clusters"].keys() == {"lab"}  # fmt: skip


def test_something_is_left(files: Path) -> None:
    done = convert("worker-spec.yml", "all.yaml")
    assert done.exit_code == 3
    assert done.stderr.splitlines() == [
        "not carried over: the worker's resources, for the scheduler: --scheduler FILE says its own",
        "not carried over: DaskCluster demo: metadata.namespace: a release has one: helm -n team",
        "not carried over: clusters.demo: replicas 3: its autoscaler says the number",
    ]
    assert set(yaml.safe_load(done.stdout)["clusters"]) == {"worker-spec", "demo"}


def test_manifests(files: Path) -> None:
    done = convert("all.yaml", "--to", "manifests")
    assert done.exit_code == 0
    kinds = [one["kind"] for one in yaml.safe_load_all(done.stdout)]
    assert kinds == ["DaskCluster", "DaskWorkerGroup", "DaskAutoscaler"]
    assert "# A second kind of workers." in done.stdout


def test_what_is_piped_in_and_json(files: Path) -> None:
    done = convert("-", "--output", "json", stdin=CLASSIC["documented"])
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert set(told) == {"values", "left"}
    assert told["left"] == [
        {
            "what": "the worker's resources, for the scheduler",
            "why": "--scheduler FILE says its own",
        }
    ]
    many = json.loads(convert("all.yaml", "--to", "manifests", "--output", "json").stdout)
    assert many["manifests"][0]["kind"] == "DaskCluster"


def test_the_schedulers_pod(files: Path) -> None:
    (files / "head.yml").write_text("kind: Pod\nspec: {containers: [{name: x, image: 'dask:2'}]}")
    done = convert("worker-spec.yml", "--scheduler", "head.yml", "--to", "manifests")
    assert done.exit_code == 0
    head = yaml.safe_load(done.stdout)["spec"]["scheduler"]["spec"]["containers"][0]
    assert head["image"] == "dask:2"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("missing.yaml",), "error: missing.yaml: No such file or directory"),
        (("broken.yaml",), "error: broken.yaml, line "),
        (("latin.yaml",), "error: latin.yaml: is no text"),
        (("worker-spec.yml", "--name", "A_b"), "error: worker-spec.yml: name 'A_b': lower case letters"),
        (("worker-spec.yml", "--scheduler", "all.yaml"), "error: all.yaml: expected one Pod, the scheduler's"),
        (("worker-spec.yml", "--scheduler", "chart.yaml"), "error: worker-spec.yml: --scheduler has no spec.containers"),
        ((".",), "error: .: Is a directory"),
        (("--to", "values"), "Usage: "),
        (("all.yaml", "--live", "x"), "Usage: "),
        (("--live", "x", "--name", "y"), "Usage: "),
    ],
)  # fmt: skip
def test_what_cannot_be_read(files: Path, words: tuple[str, ...], told: str) -> None:
    done = convert(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith(told)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_live_cluster(typed: Typed) -> None:
    resources = {"DaskCluster": DASKCLUSTERS, "DaskWorkerGroup": DASKWORKERGROUPS, "DaskAutoscaler": DASKAUTOSCALERS}  # fmt: skip
    for raw in yaml.safe_load_all(OPERATOR["all"]):
        metadata = {key: value for key, value in raw["metadata"].items() if key in ("labels", "annotations")}  # fmt: skip
        typed.put(resources[raw["kind"]], raw["metadata"]["name"], metadata=metadata, spec=raw["spec"])  # fmt: skip
    done = typed("convert", "--live", "demo")
    assert done.exit_code == 3
    assert (
        done.stderr
        == "not carried over: clusters.demo: replicas 3: its autoscaler says the number\n"
    )
    found = yaml.safe_load(done.stdout)["clusters"]["demo"]
    assert found["autoscaler"] == {"minimum": 1, "maximum": 10}
    assert set(found["workerGroups"]) == {"gpu"}
    told = "error: no DaskCluster 'nobody' in 'team-b'; there are: demo"
    assert typed.refused(1, "convert", "--live", "nobody") == told
    assert typed.refused(2, "convert", "--live", "A_b").startswith("error: name 'A_b': lower case")
    words = ("--live", "team-b/demo", "--to", "manifests", "--output", "json")
    document = json.loads(typed.done("convert", *words))
    assert [one["kind"] for one in document["manifests"]] == list(resources)


def test_the_group_costs_nothing() -> None:
    program = (
        "import sys, dask_gitops.cli.group;"
        "print([m for m in ('distributed', 'aiohttp', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "[]\n"
