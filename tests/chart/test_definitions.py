"""The custom resource definitions: what they promise to users, to GitOps tools and to manifests of the Dask operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from .conftest import ROOT, Helm, Manifest, definitions, load_all

KINDS = definitions()
# Where the users' own Kubernetes specs stand.
KUBERNETES_OWN = (".worker.spec", ".scheduler.spec", ".job.spec", ".service", ".worker.[].spec")
each_kind = pytest.mark.parametrize(
    "kind", ["DaskAutoscaler", "DaskCluster", "DaskJob", "DaskWorkerGroup"]
)


def version(kind: str) -> dict[str, Any]:
    """The only version of a definition."""
    (only,) = KINDS[kind]["spec"]["versions"]
    found: dict[str, Any] = only
    return found


def root(kind: str) -> dict[str, Any]:
    """The schema."""
    schema: dict[str, Any] = version(kind)["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema."""
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.get("properties", {}).items():
            yield from nodes(value, f"{path}.{key}")
        for key in ("items", "additionalProperties"):
            yield from nodes(schema.get(key), f"{path}[]")


def test_names_are_those_of_the_dask_operator() -> None:
    assert {
        kind: (d["spec"]["names"]["plural"], d["spec"]["names"].get("shortNames"))
        for kind, d in KINDS.items()
    } == {
        "DaskCluster": ("daskclusters", ["daskcluster", "dsk"]),
        "DaskWorkerGroup": ("daskworkergroups", ["daskworkers"]),
        "DaskAutoscaler": ("daskautoscalers", None),
        "DaskJob": ("daskjobs", ["djb"]),
    }


@each_kind
def test_definition(kind: str) -> None:
    definition = KINDS[kind]
    kubernetes_validate.validate(definition, "1.30", strict=True)
    assert definition["spec"]["group"] == "kubernetes.dask.org"
    assert definition["spec"]["scope"] == "Namespaced"
    assert definition["spec"]["names"]["categories"] == ["dask"]
    assert (version(kind)["name"], version(kind)["served"], version(kind)["storage"]) == (
        "v1",
        True,
        True,
    )


@each_kind
def test_small_enough_for_client_side_apply(kind: str) -> None:
    """kubectl and Argo CD keep the whole object in an annotation of at most 262,144 bytes."""
    assert len(json.dumps(KINDS[kind], separators=(",", ":"))) < 262_144


@each_kind
def test_never_deleted_by_helm_or_argo_cd(kind: str) -> None:
    assert KINDS[kind]["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep",
        "argocd.argoproj.io/sync-options": "ServerSideApply=true,Prune=false",
    }


@each_kind
def test_status_is_a_subresource_that_starts_as_unseen(kind: str) -> None:
    """A new object is in progress, not falsely ready."""
    assert version(kind)["subresources"]["status"] == {}
    status = root(kind)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert status["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]


@pytest.mark.parametrize("kind", ["DaskCluster", "DaskWorkerGroup"])
def test_scale(kind: str) -> None:
    assert version(kind)["subresources"]["scale"] == {
        "specReplicasPath": ".spec.worker.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    replicas = root(kind)["properties"]["spec"]["properties"]["worker"]["properties"]["replicas"]
    assert replicas["minimum"] == 0
    assert "default" not in replicas, "a default would reset what kubectl scale set"


@each_kind
def test_columns_show_what_exists(kind: str) -> None:
    columns = version(kind)["additionalPrinterColumns"]
    assert [c["name"] for c in columns if not c.get("priority")][-1] == "Age"
    assert {"Status", "Message"} <= {c["name"] for c in columns}
    known = {path for path, _ in nodes(root(kind))} | {".metadata.creationTimestamp"}
    for column in columns:
        assert column["jsonPath"].replace('[?(@.type=="Ready")]', "[]") in known, column["name"]


@each_kind
def test_lists_can_be_merged(kind: str) -> None:
    """Server-side apply by two managers needs to know the items apart."""
    for path, schema in nodes(root(kind)):
        if schema.get("type") == "array" and not path.rpartition(".")[0].endswith(KUBERNETES_OWN):
            assert schema.get("x-kubernetes-list-type") == "map", path


@each_kind
def test_pod_specs_are_never_pruned(kind: str) -> None:
    """The fields named spec, except those of the custom resources themselves, and the Service's."""
    pods = [(path, schema) for path, schema in nodes(root(kind)) if path.endswith(KUBERNETES_OWN)]
    assert (
        len(pods)
        == {"DaskCluster": 4, "DaskJob": 5, "DaskWorkerGroup": 1, "DaskAutoscaler": 0}[kind]
    )
    for path, schema in pods:
        assert (schema["type"], schema["x-kubernetes-preserve-unknown-fields"]) == (
            "object",
            True,
        ), path
        for key, field in schema["properties"].items():
            assert field["nullable"] is True, f"{path}.{key}"
            for each in (field, field.get("items", field)):
                assert each["x-kubernetes-preserve-unknown-fields"] is True, f"{path}.{key}"
            assert set(field) <= {
                "type",
                "nullable",
                "items",
                "x-kubernetes-preserve-unknown-fields",
            }


@each_kind
def test_what_is_one_level_below_a_pod_spec_has_its_shape(kind: str) -> None:
    """That of the newest Kubernetes, whatever kubernetes-validate calls it: lists are lists of objects or of texts."""
    body = {"apiVersion": "v1", "metadata": {"name": "x"}}
    for path, schema in nodes(root(kind)):
        if not path.endswith(KUBERNETES_OWN):
            continue
        service = path.endswith(".service")
        assert len(schema["properties"]) > (15 if service else 35), path
        for key, field in schema["properties"].items():
            wrong: Any = {"array": {"a": 1}, "object": [1]}.get(field["type"], {"a": 1})
            needed = {} if service else {"containers": [{"name": "x"}]}
            whole = {
                **body,
                "kind": "Service" if service else "Pod",
                "spec": {**needed, key: wrong},
            }
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(whole, kubernetes_validate.latest_version())
            assert not jsonschema.Draft7Validator(field).is_valid(wrong)


def test_required_is_only_what_has_no_default() -> None:
    required = {kind: root(kind)["properties"]["spec"].get("required", []) for kind in KINDS}
    assert required == {
        "DaskCluster": [],
        "DaskWorkerGroup": ["cluster"],
        "DaskAutoscaler": ["cluster", "minimum", "maximum"],
        "DaskJob": ["job"],
    }


def test_the_cluster_of_a_job_is_a_cluster() -> None:
    """A field that DaskCluster learns, jobs learn with it."""
    assert (
        root("DaskJob")["properties"]["spec"]["properties"]["cluster"]["properties"]["spec"]
        == root("DaskCluster")["properties"]["spec"]
    )


@each_kind
def test_names_are_checked_on_create_only(kind: str) -> None:
    """Else the status of an object that is older than the rule could never be written again."""
    rules = root(kind)["x-kubernetes-validations"]
    assert len(rules) >= 2
    for rule in rules:
        assert rule["rule"].startswith("oldSelf.hasValue() || ")
        assert rule["optionalOldSelf"] is True
        assert rule["fieldPath"].lstrip(".") in rule["message"]


@each_kind
def test_keys_and_descriptions_explain_themselves(kind: str) -> None:
    """`kubectl explain` is the manual."""
    spec = root(kind)["properties"]["spec"]
    for key, schema in spec["properties"].items():
        needs_words = key not in {"maximum", "minimum", "scaleUp", "scaleDown"}
        assert "description" in schema or not needs_words, f"{kind}.spec.{key}"


def test_show_crds(helm: Helm) -> None:
    """`helm show crds | kubectl apply` is how Helm users upgrade them. Helm 3 puts no `---` between the files of
    a subchart: without their own, all but the last would get lost."""
    shown: list[Manifest] = load_all(helm.run("show", "crds", ROOT).stdout)
    assert {d["spec"]["names"]["kind"] for d in shown} == set(KINDS)


def test_installed_unless_switched_off(helm: Helm) -> None:
    def count(*args: str) -> int:
        return sum(
            m["kind"] == "CustomResourceDefinition" for m in helm.render("--include-crds", *args)
        )

    assert (count(), count("--set", "crds.enabled=false")) == (4, 0)
