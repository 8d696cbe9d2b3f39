"""Every values file of the repository, rendered: golden files, and every manifest against the schema of its kind."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from .conftest import ROOT, Helm, Manifest, definitions, examples
from .strict import strict

GOLDEN = Path(__file__).parent / "golden"
LOWEST, NEWEST = "1.30", kubernetes_validate.latest_version()

each_example = pytest.mark.parametrize(
    "example", examples(), ids=lambda path: str(path.relative_to(ROOT))
)


def rendered(helm: Helm, example: Path) -> list[Manifest]:
    """All manifests but the definitions."""
    return helm.render("--values", example)


@each_example
def test_golden(helm: Helm, example: Path, request: pytest.FixtureRequest) -> None:
    """The same objects as last time, from either Helm. After a wanted change: pytest tests/chart --update-golden."""
    path = GOLDEN / example.relative_to(ROOT)
    text = yaml.safe_dump_all(rendered(helm, example), sort_keys=True, width=120)
    if request.config.getoption("--update-golden", default=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_no_golden_file_is_left_over() -> None:
    assert {p.relative_to(GOLDEN) for p in GOLDEN.rglob("*.yaml")} == {
        p.relative_to(ROOT) for p in examples()
    }


@each_example
def test_manifests_fit_their_kind(helm: Helm, example: Path) -> None:
    """Nothing that the API server would refuse or prune, in the lowest and the newest Kubernetes."""
    custom = {
        kind: strict(d["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        for kind, d in definitions().items()
    }
    for manifest in rendered(helm, example):
        if manifest["apiVersion"] == "kubernetes.dask.org/v1":
            jsonschema.validate(manifest, custom[manifest["kind"]])
        else:
            for version in (LOWEST, NEWEST):
                kubernetes_validate.validate(manifest, version, strict=True)


@each_example
def test_pods_fit_kubernetes(helm: Helm, example: Path) -> None:
    """The definitions preserve anything in a Pod spec; what the chart puts there is a Pod spec."""
    for manifest in rendered(helm, example):
        spec = manifest.get("spec", {})
        for part in ("scheduler", "worker"):
            pod = spec.get(part, {}).get("spec") if manifest["kind"].startswith("Dask") else None
            if pod is not None:
                whole = {"containers": [], **pod}
                body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": whole}
                kubernetes_validate.validate(body, NEWEST, strict=True)


@each_example
def test_objects_are_named_once_and_have_a_namespace(helm: Helm, example: Path) -> None:
    manifests = rendered(helm, example)
    keys = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(keys) == len(set(keys))
    for kind, namespace, name in keys:
        assert bool(namespace) != kind.startswith("ClusterRole"), name
        assert len(name) <= 63


@each_example
def test_both_helms_lint_it(helm: Helm, example: Path) -> None:
    helm.run("lint", "--strict", ROOT, "--values", example)


def test_nothing_depends_on_the_cluster_the_time_or_chance() -> None:
    """GitOps tools render without a cluster, and again and again."""
    for template in [*ROOT.glob("templates/*"), *ROOT.glob("charts/*/templates/*")]:
        text = template.read_text(encoding="utf-8")
        for word in (
            "lookup",
            "rand",
            "genCA",
            "genSelf",
            "genPriv",
            "now",
            "uuidv4",
            ".Capabilities",
            "IsInstall",
            "IsUpgrade",
            "helm.sh/hook",
        ):
            assert f"{word} " not in text.replace("|", " ").replace("(", " "), (
                f"{word} in {template.name}"
            )


def test_templates_stay_short() -> None:
    for template in [*ROOT.glob("templates/*"), *ROOT.glob("charts/*/templates/*")]:
        assert len(template.read_text(encoding="utf-8").splitlines()) <= 160, template.name
