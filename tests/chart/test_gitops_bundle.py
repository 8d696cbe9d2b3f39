"""gitops/, which users copy: every file is what its tool takes, and both tools make the same of a team's folder."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.go_modules import ARGO_CD, FLUX, files

from .conftest import ROOT, Helm, Manifest, load_all
from .strict import strict

GITOPS = ROOT / "gitops"
ENVIRONMENTS = sorted(GITOPS.glob("tenants/*/envs/*"))
CLUSTERS = sorted(GITOPS.glob("platform/clusters/*"))
PLAIN = [
    path
    for folder in ("argocd/apps", "flux", "platform", "tenants")
    for path in sorted((GITOPS / folder).rglob("*.yaml"))
]
CUSTOM = {"DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob"}

each_environment = pytest.mark.parametrize(
    "folder", ENVIRONMENTS, ids=lambda p: f"{p.parts[-3]}-{p.name}"
)
each_cluster = pytest.mark.parametrize("folder", CLUSTERS, ids=lambda path: path.name)


def load(path: Path) -> list[Manifest]:
    return load_all(path.read_text(encoding="utf-8"))


def one(path: Path, kind: str) -> Manifest:
    (found,) = [m for m in load(path) if m["kind"] == kind]
    return found


def version() -> str:
    return str(yaml.safe_load((ROOT / "Chart.yaml").read_text(encoding="utf-8"))["version"])


@pytest.fixture(scope="module")
def schemas() -> dict[tuple[str, str], Any]:
    """(apiVersion, kind) -> a schema that refuses unknown keys, for the kinds of Argo CD and Flux."""
    texts = list(files(ARGO_CD, "manifests/crds").values())
    texts += [text for module in FLUX for text in files(module, "config/crd/bases").values()]
    found = {}
    for text in texts:
        definition = yaml.safe_load(text)
        if definition.get("kind") != "CustomResourceDefinition":
            continue
        spec = definition["spec"]
        for v in spec["versions"]:
            key = (f"{spec['group']}/{v['name']}", spec["names"]["kind"])
            found[key] = strict(v["schema"]["openAPIV3Schema"])
    assert len(found) >= 10
    return found


def check(manifest: Manifest, schemas: dict[tuple[str, str], Any]) -> None:
    key = (manifest["apiVersion"], manifest["kind"])
    if key in schemas:
        jsonschema.validate(manifest, schemas[key])
    else:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    "path",
    [p for p in [*PLAIN, GITOPS / "argocd/root.yaml"] if p.name not in ("values.yaml", "config.yaml", "kustomization.yaml")],
    ids=lambda path: str(path.relative_to(GITOPS)),
)  # fmt: skip
def test_objects_are_of_their_kind(path: Path, schemas: dict[tuple[str, str], Any]) -> None:
    manifests = load(path)
    assert manifests
    for manifest in manifests:
        check(manifest, schemas)


def test_a_typo_would_be_found(schemas: dict[tuple[str, str], Any]) -> None:
    wrong = one(GITOPS / "argocd/apps/tenants.yaml", "ApplicationSet")
    wrong["spec"]["syncPolicy"]["preserveResourceOnDeletion"] = True
    with pytest.raises(jsonschema.ValidationError):
        check(wrong, schemas)


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(GITOPS)))
def test_files_are_small_and_begin_with_a_comment(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    assert len(lines) <= 100


def test_versions_are_this_version() -> None:
    """Of the packages, wherever they are named."""
    found = re.findall(
        r"(?:chartVersion|version|value): (\d[^\s}]*)",
        "\n".join(path.read_text(encoding="utf-8") for path in PLAIN),
    )
    assert len(found) == 2 * len(ENVIRONMENTS) + 2 * len(CLUSTERS) + 2
    assert set(found) == {version()}


# ---- Argo CD


def filled(text: str, folder: Path) -> str:
    """A template of an ApplicationSet for one folder, as its git generator fills it."""
    values: dict[str, str] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    place = folder.relative_to(GITOPS)

    def fill(found: re.Match[str]) -> str:
        words = found[1].split()
        if words[:2] == ["index", ".path.segments"]:
            return place.parts[int(words[2])]
        return str(place) if words == [".path.path"] else str(values[words[0].removeprefix(".")])

    return re.sub(r"\{\{(.*?)\}\}", fill, text)


def application(file: str, folder: Path) -> Manifest:
    template = one(GITOPS / "argocd/apps" / file, "ApplicationSet")["spec"]["template"]
    filled_in = yaml.safe_load(filled(yaml.safe_dump(template), folder))
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **filled_in}


def projects() -> dict[str, Manifest]:
    found = [m for path in (GITOPS / "argocd/apps").iterdir() for m in load(path)]
    return {m["metadata"]["name"]: m["spec"] for m in found if m["kind"] == "AppProject"}


def chart_of(app: Manifest) -> tuple[str, list[Path]]:
    """The package of an Application, and its values files."""
    (chart,) = [source for source in app["spec"]["sources"] if "chart" in source]
    assert chart["targetRevision"] == version()
    paths = [GITOPS / name.removeprefix("$values/") for name in chart["helm"]["valueFiles"]]
    return chart["chart"], paths


def may(project: Manifest, kind: str, group: str, scope: str) -> bool:
    listed = project.get(f"{scope}ResourceWhitelist")
    if listed is None:
        return scope == "namespace"  # Argo CD's own default
    return any(one["group"] == group and one["kind"] in ("*", kind) for one in listed)


@each_environment
def test_argo_cd_may_deploy_a_teams_folder(
    folder: Path, schemas: dict[tuple[str, str], Any]
) -> None:
    app = application("tenants.yaml", folder)
    check(app, schemas)
    team = folder.parts[-3]
    assert app["spec"]["project"] == team
    assert app["metadata"]["name"].startswith(f"{team}.")
    project = projects()[team]
    assert app["spec"]["destination"]["namespace"] in {
        d["namespace"] for d in project["destinations"]
    }
    assert {source["repoURL"] for source in app["spec"]["sources"]} == set(project["sourceRepos"])
    chart, paths = chart_of(app)
    assert chart == "dask-clusters"
    assert paths == [folder.parent.parent / "base/values.yaml", folder / "values.yaml"]
    assert {
        (i["namespace"], i["defaultServiceAccount"]) for i in project["destinationServiceAccounts"]
    } == {(d["namespace"], "deployer") for d in project["destinations"]}


def test_a_renamed_folder_is_the_same_application() -> None:
    """What an Application is called and where it deploys stands in a file that moves along."""
    folder = ENVIRONMENTS[0]
    template = one(GITOPS / "argocd/apps/tenants.yaml", "ApplicationSet")["spec"]["template"]
    text = yaml.safe_dump(
        [template["metadata"], template["spec"]["destination"], template["spec"]["project"]]
    )
    assert "basename" not in text
    assert ".path.path" not in text
    names = [application("tenants.yaml", path)["metadata"]["name"] for path in ENVIRONMENTS]
    assert len(set(names)) == len(names) >= 2
    assert filled("{{.name}}", folder) == folder.name  # in the example they agree


def test_no_application_set_takes_resources_along() -> None:
    for file in ("tenants.yaml", "platform.yaml"):
        spec = one(GITOPS / "argocd/apps" / file, "ApplicationSet")["spec"]
        assert spec["syncPolicy"]["preserveResourcesOnDeletion"] is True
        assert "finalizers" not in spec["template"]["metadata"]
        assert spec["goTemplateOptions"] == ["missingkey=error"]
    assert "strategy" not in one(GITOPS / "argocd/apps/tenants.yaml", "ApplicationSet")["spec"]


def test_projects_are_there_before_what_names_them() -> None:
    """Or else Argo CD refuses the Applications, and looks again only minutes later."""

    def wave(manifest: Manifest) -> int:
        marks = manifest["metadata"].get("annotations", {})
        return int(marks.get("argocd.argoproj.io/sync-wave", 0))

    found = [m for path in (GITOPS / "argocd/apps").iterdir() for m in load(path)]
    waves = {
        kind: {wave(m) for m in found if m["kind"] == kind}
        for kind in ("AppProject", "ApplicationSet")
    }
    assert max(waves["AppProject"]) < min(waves["ApplicationSet"])


def test_the_platform_reaches_every_cluster_and_production_last() -> None:
    spec = one(GITOPS / "argocd/apps/platform.yaml", "ApplicationSet")["spec"]
    first, last = (step["matchExpressions"][0] for step in spec["strategy"]["rollingSync"]["steps"])
    assert (first["operator"], last["operator"]) == ("NotIn", "In")
    assert first["values"] == last["values"] == ["prod"]
    assert (
        "automated" not in spec["template"]["spec"]["syncPolicy"]
    )  # RollingSync would take it away


# ---- both tools, and what comes out


def kustomized(folder: Path) -> list[Manifest]:
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_all(done.stdout)


def by_kind(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def flux_values(manifests: list[Manifest], release: Manifest) -> list[str]:
    """The values files that a HelmRelease is given, in order, as their texts."""
    assert all(set(source) == {"kind", "name"} for source in release["spec"]["valuesFrom"])
    maps = [
        by_kind(manifests, source["kind"], source["name"])
        for source in release["spec"]["valuesFrom"]
    ]
    for found in maps:
        assert found["metadata"]["namespace"] == release["metadata"]["namespace"]
        assert found["metadata"]["labels"] == {"reconcile.fluxcd.io/watch": "Enabled"}
    return [found["data"]["values.yaml"] for found in maps]


def check_release(manifests: list[Manifest], app: Manifest, name: str) -> Manifest:
    """The release of Flux is that of Argo CD: package, version, names, values."""
    chart, paths = chart_of(app)
    release = by_kind(manifests, "HelmRelease", name)
    wanted = release["spec"]["chart"]["spec"]
    assert (wanted["chart"], wanted["version"]) == (chart, version())
    source = by_kind(manifests, wanted["sourceRef"]["kind"], wanted["sourceRef"]["name"])
    assert source["spec"] == {"type": "oci", "url": "oci://registry.example.com/charts"}
    assert source["metadata"]["namespace"] == release["metadata"]["namespace"]
    assert flux_values(manifests, release) == [path.read_text(encoding="utf-8") for path in paths]
    assert release["metadata"]["namespace"] == app["spec"]["destination"]["namespace"]
    (helm,) = [source["helm"] for source in app["spec"]["sources"] if "helm" in source]
    assert helm["releaseName"] == name
    return release


@each_environment
def test_flux_makes_the_same_of_a_teams_folder(
    folder: Path, schemas: dict[tuple[str, str], Any]
) -> None:
    manifests = kustomized(folder)
    for manifest in manifests:
        check(manifest, schemas)
    release = check_release(manifests, application("tenants.yaml", folder), "dask")
    assert release["spec"]["serviceAccountName"] == "deployer"
    sync = one(GITOPS / f"flux/tenants/{folder.name}/{folder.parts[-3]}.yaml", "Kustomization")
    assert sync["spec"]["path"] == f"./{folder.relative_to(GITOPS)}"
    assert sync["spec"]["serviceAccountName"] == "deployer"
    assert sync["metadata"]["namespace"] == release["metadata"]["namespace"]
    assert sync["spec"]["deletionPolicy"] == "Orphan"


@each_cluster
def test_both_tools_install_the_same_platform(
    folder: Path, schemas: dict[tuple[str, str], Any]
) -> None:
    app = application("platform.yaml", folder)
    check(app, schemas)
    manifests = kustomized(folder)
    for manifest in manifests:
        check(manifest, schemas)
    release = check_release(manifests, app, "dask-gitops")
    assert (
        release["spec"]["upgrade"]["crds"] == release["spec"]["install"]["crds"] == "CreateReplace"
    )
    teams = [m for path in sorted((folder / "teams").iterdir()) for m in load(path)]
    (path,) = [s["path"] for s in app["spec"]["sources"] if "path" in s]
    assert path == str((folder / "teams").relative_to(GITOPS))
    assert [m for m in manifests if m in teams] == [
        m
        for m in manifests
        if m["metadata"].get("namespace", m["metadata"]["name"]) != "dask-gitops"
    ]
    assert len([m for m in manifests if m in teams]) == len(teams)
    platform, tenants = load(GITOPS / f"flux/clusters/{folder.name}/dask.yaml")
    assert platform["spec"]["path"] == f"./{folder.relative_to(GITOPS)}"
    assert tenants["spec"]["path"] == f"./flux/tenants/{folder.name}"
    assert tenants["spec"]["dependsOn"] == [{"name": platform["metadata"]["name"]}]


def allowed(rules: list[dict[str, Any]], group: str, resource: str) -> set[str]:
    return {
        verb
        for rule in rules
        if group in rule["apiGroups"] and resource in rule["resources"]
        for verb in rule["verbs"]
    }


def plural(kind: str) -> str:
    return "helmrepositories" if kind == "HelmRepository" else f"{kind.lower()}s"


@each_environment
def test_what_a_team_declares_renders_and_is_all_that_it_may(
    helm: Helm, packages: dict[str, Path], folder: Path
) -> None:
    app = application("tenants.yaml", folder)
    _, paths = chart_of(app)
    args = [word for path in paths for word in ("--values", path)]
    rendered = helm.render(*args, chart=packages["dask-clusters"])
    assert "DaskCluster" in {m["kind"] for m in rendered}
    namespace = app["spec"]["destination"]["namespace"]
    given = GITOPS / f"platform/clusters/{folder.name}/teams/{folder.parts[-3]}.yaml"
    assert one(given, "Namespace")["metadata"]["name"] == namespace
    rules = one(given, "Role")["rules"]
    project = projects()[folder.parts[-3]]
    everything = {"get", "list", "watch", "create", "update", "patch", "delete"}
    for manifest in rendered:
        assert may(project, manifest["kind"], "kubernetes.dask.org", "namespace")
    for manifest in [*rendered, *kustomized(folder)]:
        group = manifest["apiVersion"].rpartition("/")[0]
        assert allowed(rules, group, plural(manifest["kind"])) >= everything, manifest["kind"]
    for kind in ("Pod", "Deployment", "ClusterRole", "RoleBinding"):
        group = {"Pod": "", "Deployment": "apps"}.get(kind, "rbac.authorization.k8s.io")
        assert "create" not in allowed(rules, group, plural(kind))
    assert not may(project, "Secret", "", "namespace")
    assert project["clusterResourceWhitelist"] == []


def test_production_is_protected_and_autoscaled(helm: Helm, packages: dict[str, Path]) -> None:
    folder = GITOPS / "tenants/team-a"
    args = ("--values", folder / "base/values.yaml", "--values", folder / "envs/prod/values.yaml")
    rendered = helm.render(*args, chart=packages["dask-clusters"])
    assert [m["kind"] for m in rendered] == ["DaskAutoscaler", "DaskCluster"]
    assert "replicas" not in rendered[1]["spec"]["worker"]
    for manifest in rendered:
        assert manifest["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@each_cluster
def test_the_platform_renders_and_is_all_that_its_project_may(
    helm: Helm, packages: dict[str, Path], folder: Path
) -> None:
    chart, paths = chart_of(application("platform.yaml", folder))
    args = [word for path in paths for word in ("--values", path)]
    rendered = helm.render(*args, "--include-crds", chart=packages[chart])
    assert {"CustomResourceDefinition", "Deployment", "ClusterRole"} <= {
        m["kind"] for m in rendered
    }
    assert not CUSTOM & {m["kind"] for m in rendered}
    project = projects()["dask-platform"]
    scoped = [m for m in rendered if "namespace" not in m["metadata"]] + load(
        next((folder / "teams").iterdir())
    )[:1]
    for manifest in scoped:
        group = manifest["apiVersion"].rpartition("/")[0]
        assert may(project, manifest["kind"], group, "cluster"), manifest["kind"]


def test_either_tool_can_be_taken_away() -> None:
    """As README.md says: what is left of the other one is whole, and says nothing of what is gone."""
    only = {"argocd": ("kustomization.yaml", "release.yaml"), "flux": ("config.yaml",)}
    for tool, others in only.items():
        left = {
            path
            for folder in ("platform", "tenants", tool)
            for path in (GITOPS / folder).rglob("*.yaml")
            if path.name not in others
        }
        texts = "".join(path.read_text(encoding="utf-8") for path in left)
        words = (
            ("toolkit.fluxcd.io/v", "kustomize.config")
            if tool == "argocd"
            else ("argoproj.io/v1alpha1",)
        )
        assert not [word for word in words if word in texts]
    marked = [p for names in only.values() for name in names for p in GITOPS.rglob(name)]
    assert len(marked) == 12
    for path in marked:
        tool = "Argo CD" if path.name == "config.yaml" else "Flux"
        assert path.read_text(encoding="utf-8").startswith(f"# Only {tool} reads this.")
