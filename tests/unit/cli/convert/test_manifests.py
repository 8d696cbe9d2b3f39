"""What is converted means the same: the Pods that the controller makes of it are those of the source."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dask_gitops.cli.convert import manifests
from dask_gitops.cli.convert.comments import comments
from dask_gitops.cli.convert.result import Converted, ConvertError
from dask_gitops.cli.convert.running import from_files, written
from dask_gitops.cli.plan.documents import read

from tests.manifests import HERE, NAMES
from tests.support.conversions import CHART, CLASSIC, OPERATOR
from tests.support.meaning import meaning

JSON = dict[str, Any]
FILES = {name: (HERE / f"{name}.yaml").read_text() for name in NAMES}


def converted(text: str, **more: Any) -> Converted:
    return manifests.convert(read(text), "file.yaml", **more)


def objects(text: str) -> list[JSON]:
    found = []
    for document in read(text):
        found += document["items"] if document.get("kind") == "List" else [document]
    return found


@pytest.mark.parametrize("text", [*FILES.values(), *OPERATOR.values()], ids=[*FILES, *OPERATOR])
def test_manifests_mean_the_same(text: str) -> None:
    source = objects(text)
    before = copy.deepcopy(source)
    for raw in source:  # a note of the existing operator on itself
        raw["metadata"].get("annotations", {}).pop(
            "kopf.zalando.org/last-handled-configuration", None
        )
    found = converted(text)
    assert found.left == []
    out, _ = written(found, comments(text) if text[:1] != "{" else [{}], "manifests")
    assert meaning(read(out)) == meaning(source)
    assert objects(text) == before


def test_what_only_an_api_server_writes_is_left_out() -> None:
    (cluster, group, autoscaler) = (one.raw for one in converted(OPERATOR["all"]).objects)
    assert cluster["metadata"] == {
        "name": "demo",
        "namespace": "team",
        "annotations": {"why": "demonstration"},
        "labels": {"team": "b"},
    }
    assert set(cluster) == {"apiVersion", "kind", "metadata", "spec"}
    assert (group["kind"], autoscaler["kind"]) == ("DaskWorkerGroup", "DaskAutoscaler")


@pytest.mark.parametrize("name", CLASSIC)
def test_a_workers_pod_means_what_it_says(name: str) -> None:
    """Image, variables, volumes and place of the Pod are those of both Pods."""
    (document,) = read(CLASSIC[name])
    spec = document.get("spec", document)
    (one,) = converted(CLASSIC[name], name="demo").objects
    found = meaning([one.raw])
    assert found["Worker demo-default"]["number"] == 0
    for of in ("Worker demo-default", "Scheduler demo"):
        pod = found[of]["spec"]
        assert [c["image"] for c in pod["containers"]] == [c["image"] for c in spec["containers"]]
        for field in ("nodeSelector", "serviceAccountName", "volumes", "restartPolicy"):
            assert field not in spec or pod[field] == spec[field]
        assert all(each in pod["tolerations"] for each in spec.get("tolerations", ()))
        mine = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
        for each in spec["containers"][0].get("env", ()):
            assert mine[each["name"]] == each["value"]
    words = found["Worker demo-default"]["spec"]["containers"][0]["args"]
    for word in spec["containers"][0].get("args", ()):
        if word != "dask-worker" and "dask-worker" not in str(word):
            assert {"--no-bokeh": "--no-dashboard", "--nprocs": "--nworkers"}.get(word, str(word)) in words  # fmt: skip


def test_the_schedulers_pod_beside_it() -> None:
    head = read("kind: Pod\nspec: {containers: [{image: 'dask:2', resources: {limits: {cpu: 1}}}]}")
    found = converted(CLASSIC["documented"], name="demo", scheduler=head[0])
    assert found.left == []
    container = found.objects[0].raw["spec"]["scheduler"]["spec"]["containers"][0]
    assert container["image"] == "dask:2"
    assert container["resources"] == {"limits": {"cpu": 1}}
    alone = converted(CLASSIC["documented"])
    assert [str(one) for one in alone.left] == [
        "the worker's resources, for the scheduler: --scheduler FILE says its own"
    ]


def test_its_name_is_that_of_its_file_or_its_own() -> None:
    found = manifests.convert(read(CLASSIC["documented"]), "/some/Worker_Spec.yml")
    assert found.objects[0].name == "worker-spec"
    assert converted(CLASSIC["shell"]).objects[0].name == "shell"


def test_variables_of_a_shell_are_told() -> None:
    text = "kind: Pod\nspec: {containers: [{image: '$IMAGE:1', args: ['$(DASK_SCHEDULER_ADDRESS)', '${A}']}]}"
    told = [one.what for one in converted(text).left]
    assert told == ["spec.containers[0].image", "spec.containers[0].args[1]"]


# ---- values of the dask/dask chart


def as_that_chart(values: JSON, worker: JSON, name: str) -> JSON:
    """The container that its template makes, by that chart's own rules, but for what is ours: name and address."""
    limits = worker.get("resources", {}).get("limits", {})
    default = {"cpu": 1, "memory": "4GiB", **worker.get("default_resources", {})}
    threads = worker.get("threads_per_worker") or limits.get("cpu") or default["cpu"]
    words = [worker.get("image", {}).get("dask_worker", "dask-worker")]
    if limits:
        words += ["--nthreads", str(threads)] if str(threads).isdecimal() else []
        words += ["--memory-limit", str(limits.get("memory") or default["memory"])]
    words += ["--no-dashboard", "--dashboard-address", str(worker.get("portDashboard", 8790))]
    words += ["--worker-port", str(worker["port"])] if "port" in worker else []
    return {"args": words + worker.get("extraArgs", [])}


@pytest.mark.parametrize("name", CHART)
def test_values_of_the_dask_chart(name: str) -> None:
    (values,) = read(CHART[name])
    found = [one.raw for one in converted(CHART[name]).objects]
    means = meaning(found)
    of = "lab" if name == "probes" else "dask"
    worker = values.get("worker", {})
    workers = {f"Worker {of}-default": worker}
    for group in values.get("additional_worker_groups", ()):
        workers[f"Worker {of}-{group['name'].lower()}"] = merged(group, worker)
    assert {key for key in means if key.startswith("Worker ")} == set(workers)
    for key, said in workers.items():
        pod, main = means[key], means[key]["spec"]["containers"][0]
        modern = ["python", "-m", "distributed.cli.dask_worker"]
        want = as_that_chart(values, said, key)["args"]
        want = [*(modern if want[0] == "dask-worker" else want[:1]), "--name", "$(DASK_WORKER_NAME)", *want[1:]]  # fmt: skip
        assert main["args"] == want
        assert pod["number"] == said.get("replicas", 3)
        image = said.get("image", {})
        if "tag" in image:
            assert main["image"] == f"{image['repository']}:{image['tag']}"
        assert main.get("imagePullPolicy") == image.get("pullPolicy")
        assert pod["spec"].get("imagePullSecrets") == image.get("pullSecrets")
        assert main.get("resources", {}) == said.get("resources", {})
        for each in said.get("env", ()):
            assert each in main["env"]
        for field in ("nodeSelector", "serviceAccountName", "securityContext"):
            assert pod["spec"].get(field) == said.get(field)
        assert pod["spec"].get("volumes") == said.get("mounts", {}).get("volumes")
        assert main.get("volumeMounts") == said.get("mounts", {}).get("volumeMounts")
        assert all(each in pod["spec"]["tolerations"] for each in said.get("tolerations", ()))
        assert pod["metadata"]["annotations"].items() >= said.get("annotations", {}).items()
        if "readinessProbe" in said:
            assert main["readinessProbe"] == said["readinessProbe"]
    head, service = means[f"Scheduler {of}"]["spec"], means[f"Service {of}"]["spec"]
    said = values.get("scheduler", {})
    assert service["type"] == said.get("serviceType", "ClusterIP")
    assert head["containers"][0].get("resources", {}) == said.get("resources", {})
    for word in said.get("extraArgs", ()):
        assert word in head["containers"][0]["args"]


def merged(over: JSON, base: JSON) -> JSON:
    found = dict(base)
    for key, value in over.items():
        found[key] = merged(value, found[key]) if isinstance(found.get(key), dict) else value
    return found


def test_what_no_cluster_has_is_told() -> None:
    assert [str(one) for one in converted(CHART["much-else"]).left] == [
        "unknown: no word of the dask/dask chart",
        "nameOverride: --name says what the cluster is called",
        "jupyter: a notebook server is an object beside the cluster, such as JupyterHub's",
        "webUI.ingress: an Ingress is an object beside the cluster: its Service's port 8787",
        "webUI.servicePort: the scheduler's Service has the dashboard at 8787",
        "worker.custom_scheduler_url: workers belong to the scheduler of their cluster",
        "worker.strategy: updateStrategy says how workers are replaced",
        "worker.image.tag: the chart's own default is not known here: say one",
        "scheduler.colour: no word of the dask/dask chart",
        "scheduler.metrics.serviceMonitor: a monitor is an object beside the cluster",
        "scheduler.enabled: every cluster has a scheduler of its own",
        "scheduler.replicas: there is one scheduler",
        "scheduler.servicePort: the scheduler's Service has it at 8786",
    ]
    assert [str(one) for one in converted(CHART["half-a-cpu"]).left] == [
        "worker.resources.limits.cpu: 500m is no number of threads: Dask chooses one by the limit"
    ]


# ---- what cannot be read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "file.yaml: there is nothing in it"),
        ("- 1", "file.yaml: expected a Pod, Dask's custom resources, or values of the dask/dask chart"),
        ("a: 1", "file.yaml: it has no kind, and it is no values of the dask/dask chart"),
        ("clusters: {}\nworker: {}", "file.yaml: it has no kind, and it is no values"),
        ("kind: DaskCluster", "file.yaml: DaskCluster has apiVersion None; expected kubernetes.dask.org/v1"),
        ("kind: DaskCluster\napiVersion: kubernetes.dask.org/v1", "file.yaml: DaskCluster has no metadata.name"),
        ("kind: Pod\nspec: {containers: 1}", "file.yaml: the worker's Pod has no spec.containers; write"),
        ("worker: 1", "file.yaml: worker is 1; expected a mapping"),
        ("worker: {extraArgs: {}, env: {A: b}}", "file.yaml: worker.env is no list"),
        ("additional_worker_groups: [{}]", "file.yaml: additional_worker_groups[0] has no name"),
        ("a: 1\n---\nkind: Pod", "file.yaml: it has no kind"),
        ("kind: Pod\nspec: {containers: [{}]}\n---\n1", "file.yaml, document 2: expected a Pod"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(ConvertError) as caught:
        converted(text)
    assert str(caught.value).startswith(words)


def test_a_wrong_shape_is_told_with_its_place() -> None:
    text = OPERATOR["all"].replace("args: [dask-worker, --name, $(DASK_WORKER_NAME)]", "args: dask-worker")  # fmt: skip
    with pytest.raises(ConvertError, match=r"DaskCluster demo: spec.worker.spec.containers\[0\].args: is a string"):  # fmt: skip
        converted(text)


ODD: list[Any] = [None, 1, "x", [], {}, [1], {"a": None}, [{"name": 1}], True, "A_b"]


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [here, *(p for part, inner in parts for p in places(inner, (*here, part)))]


@pytest.mark.parametrize("text", [*OPERATOR.values(), *CLASSIC.values(), *CHART.values()])
def test_whatever_stands_anywhere_is_told_in_words(text: str) -> None:
    """At each place of a source something else: it is converted, or refused in one line."""
    documents = read(text)
    refused: list[str] = []
    for number, document in enumerate(documents):
        for i, place in enumerate(places(document)[1:]):
            for odd in (ODD[(i + 3 * n) % len(ODD)] for n in range(3)):
                changed = copy.deepcopy(documents)
                here = changed[number]
                for part in place[:-1]:
                    here = here[part]
                here[place[-1]] = odd
                for to in ("values", "manifests"):
                    try:
                        found = manifests.convert(changed, "f.yaml", scheduler=None)
                        written(found, [{} for _ in changed], to)
                    except ConvertError as error:
                        refused.append(str(error))
    assert refused
    assert all("\n" not in line for line in refused)


def test_other_objects_are_told() -> None:
    found = converted("kind: ConfigMap\nmetadata: {name: x}\n")
    assert [str(one) for one in found.left] == [
        "ConfigMap x: it is none of Dask's objects: keep it beside them"
    ]


def test_the_same_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(OPERATOR["json"])
    with pytest.raises(ConvertError, match="DaskCluster j is there twice"):
        from_files([str(file), str(file)], None, None)


def test_values_say_in_their_own_words_what_they_have_words_for() -> None:
    """But no variable that may use another one, as a map has no order; no image that not all have."""

    def worker(**container: Any) -> JSON:
        parts = {
            part: {"spec": {"containers": [{"name": part, "image": "a:1", **more}]}}
            for part, more in (("scheduler", {}), ("worker", container))
        }
        raw = {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "metadata": {"name": "d"},
        }
        text = json.dumps({**raw, "spec": parts})
        _, values = written(converted(text), [{}], "values")
        found: JSON = values["clusters"]["d"]
        return found

    of_all = {"image": {"repository": "a", "tag": "1"}}
    number = {"replicas": "external"}
    assert worker() == {**of_all, "worker": number}
    assert worker(resources={"limits": {"cpu": 1}}) == {
        **of_all,
        "worker": {**number, "resources": {"limits": {"cpu": 1}}},
    }
    a, b = {"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}
    assert worker(env=[a, b])["worker"] == {
        **number,
        "env": {"A": "1", "B": {"valueFrom": {"fieldRef": {"fieldPath": "x"}}}},
    }
    for env in ([b, a], [a, a], [a, {"name": "C", "value": "$(A)"}], [{"name": "A"}]):
        template = {"spec": {"containers": [{"name": "worker", "env": env}]}}
        assert worker(env=env)["worker"] == {**number, "podTemplate": template}
    assert worker(image="b:1") == {
        "scheduler": {"podTemplate": {"spec": {"containers": [{"name": "scheduler", "image": "a:1"}]}}},
        "worker": {**number, "podTemplate": {"spec": {"containers": [{"name": "worker", "image": "b:1"}]}}},
    }  # fmt: skip


def test_a_service_without_dasks_port_keeps_no_ports() -> None:
    text = CLUSTER.format("DaskCluster", "d", "").replace("spec: {}", "spec: {scheduler: {service: {type: NodePort, ports: [{port: 1}]}}}")  # fmt: skip
    found = converted(text)
    _, values = written(found, [{}], "values")
    assert values["clusters"]["d"]["scheduler"]["service"] == {"type": "NodePort"}
    assert [str(one) for one in found.left] == [
        "DaskCluster d: the Service's ports: none of them is called tcp-comm, or is 8786"
    ]
    one_port = text.replace("port: 1", "port: 8786")
    found = converted(one_port)
    _, values = written(found, [{}], "values")
    assert found.left == []
    assert values["clusters"]["d"]["scheduler"]["service"]["ports"] == [
        {"port": 8786, "name": "tcp-comm"},
        {"name": "http-dashboard", "$patch": "delete"},
    ]


CLUSTER = "apiVersion: kubernetes.dask.org/v1\nkind: {}\nmetadata: {{name: {}, namespace: {}}}\nspec: {{}}\n"


def test_what_values_cannot_name_is_told() -> None:
    text = "---\n".join(
        [
            CLUSTER.format("DaskCluster", "demo", "a"),
            CLUSTER.format("DaskCluster", "demo", "b"),
            CLUSTER.format("DaskCluster", "with.dots", "a"),
            CLUSTER.format("DaskJob", "demo", "a"),
        ]
    )
    found = converted(text)
    _, values = written(found, [{}] * 4, "values")
    assert values == {"clusters": {"demo": {"worker": {"replicas": "external"}}}}
    assert [str(one) for one in found.left] == [
        "DaskCluster demo: metadata.namespace: a release has one: helm -n a",
        "DaskCluster demo: another one of this name is there: convert each namespace by itself",
        "DaskCluster with.dots: name 'with.dots': lower case letters, digits and '-' only, at most 53 "
        "characters, beginning and ending with a letter or digit; try 'with-dots'",
        "DaskJob demo: another one of this name is there: convert each namespace by itself",
    ]


def test_groups_and_autoscalers_that_values_have_no_place_for() -> None:
    group = "apiVersion: kubernetes.dask.org/v1\nkind: DaskWorkerGroup\nmetadata: {{name: {}}}\nspec: {{cluster: {}}}\n"
    scaler = "apiVersion: kubernetes.dask.org/v1\nkind: DaskAutoscaler\nmetadata: {{name: {}}}\nspec: {{cluster: {}, workerGroup: {}}}\n"
    text = "---\n".join(
        [
            CLUSTER.format("DaskCluster", "demo", ""),
            group.format("gpu", "demo"),
            group.format("demo-default", "demo"),
            group.format("demo-x", "other"),
            scaler.format("a", "demo", ""),
            scaler.format("demo", "demo", "demo-default"),
            scaler.format("b", "demo", "demo-none"),
            scaler.format("c", "other", ""),
        ]
    )
    found = converted(text)
    _, values = written(found, [{}] * 8, "values")
    assert values == {"clusters": {"demo": {"autoscaler": {}}}}
    assert [str(one) for one in found.left] == [
        "DaskWorkerGroup gpu: groups of values are called demo-KEY, and not demo-default",
        "DaskWorkerGroup demo-default: groups of values are called demo-KEY, and not demo-default",
        "DaskWorkerGroup demo-x: its cluster 'other' is not among what is converted",
        "DaskAutoscaler a: its name: values call it 'demo'",
        "DaskAutoscaler demo: there is another one of this group",
        "DaskAutoscaler b: its group 'demo-none' is not among what is converted",
        "DaskAutoscaler c: its cluster 'other' is not among what is converted",
    ]


# ---- live


def test_a_live_cluster() -> None:
    """Numbers as they are now; what others left on the objects is not carried over."""
    cluster, *_ = objects(OPERATOR["all"])
    cluster = {**cluster, "status": {}, "metadata": {**cluster["metadata"], "labels": {"team": "b", "app.kubernetes.io/managed-by": "x"}}}  # fmt: skip
    group = {"apiVersion": cluster["apiVersion"], "kind": "DaskWorkerGroup"}
    others = [
        {**group, "metadata": {"name": "demo-default"}, "spec": {"cluster": "demo", "worker": {"replicas": 7}}},
        {**group, "metadata": {"name": "demo-gpu", "uid": "u"}, "spec": {"cluster": "demo", "worker": {"replicas": 2}}},
        {**group, "metadata": {"name": "else-gpu"}, "spec": {"cluster": "else", "worker": {"replicas": 2}}},
    ]  # fmt: skip
    found = manifests.live(cluster, others)
    assert [(one.kind, one.name) for one in found.objects] == [
        ("DaskCluster", "demo"),
        ("DaskWorkerGroup", "demo-gpu"),
    ]
    assert found.objects[0].raw["spec"]["worker"]["replicas"] == 7
    assert found.objects[0].raw["metadata"] == {
        "name": "demo",
        "labels": {"team": "b"},
        "annotations": {"why": "demonstration"},
    }
    assert found.objects[1].raw["metadata"] == {"name": "demo-gpu"}


def test_json_of_it_is_json() -> None:
    found = converted(OPERATOR["all"])
    _, document = written(found, [{}, {}, {}], "manifests")
    assert json.loads(json.dumps(document)) == document
    text, values = written(found, [{}, {}, {}], "values")
    assert yaml.safe_load(text) == values
