"""Manifests of the existing operator's users: the pods and Services that they mean, field by field."""

from __future__ import annotations

import importlib
from typing import Any

import click
import pytest
from dask_gitops.model.podspec import Container
from dask_gitops.resources import labels
from dask_gitops.resources.groups import declared_groups
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import scheduler_pod, worker_pod
from dask_gitops.resources.services import scheduler_service

from tests.manifests import CLUSTERS, HERE, NAMES, expected, manifests
from tests.unit.objects import CONTROL, TIME, cluster, group

JSON = dict[str, Any]
NAMESPACE = "team"


def stored(manifest: JSON) -> CustomResource:
    """The object as the API server would hand it out."""
    given = {"namespace": NAMESPACE, "uid": f"{manifest['metadata']['name']}-uid"}
    metadata = {**manifest["metadata"], **given, "generation": 1, "creationTimestamp": TIME}
    return CustomResource.of({**manifest, "metadata": metadata})


def added_to_env(pod: JSON) -> list[JSON]:
    """What the controller adds besides name and address: the control API, and the hand-over of workers."""
    (container,) = pod["spec"]["containers"]
    known = ("DASK_WORKER_NAME", "DASK_SCHEDULER_ADDRESS")
    return [e for e in container["env"] if e["name"] not in known]


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_a_manifest_means(name: str) -> None:
    of, *declared = [stored(m) for m in manifests(name)]
    groups = [stored(g) for g in declared_groups(of)] + declared
    made = {
        f"{m['kind']} {m['metadata']['name']}": m
        for m in (
            scheduler_pod(of, default_image="default:1", control=CONTROL, token="secret"),
            scheduler_service(of),
            *declared_groups(of),
            *(worker_pod(of, g, 0, default_image="default:1") for g in groups),
        )
    }
    empty = scheduler_pod(cluster(), default_image="d", control=CONTROL, token="secret")
    want = expected(
        name,
        of,
        groups,
        control_api=added_to_env(empty),
        hand_over=added_to_env(worker_pod(cluster(), group(), 0, default_image="d")),
    )
    assert sorted(made) == sorted(want)
    for key in want:
        made[key]["metadata"]["annotations"].pop(labels.HANDED_ON, None)  # a note on what is there
        assert made[key] == want[key], key


def commands() -> dict[str, list[str]]:
    """Every command of a manifest that calls a module of Dask, by the container's role and the words themselves."""
    found = {}
    for name in CLUSTERS:
        of, *groups = [stored(m) for m in manifests(name)]
        groups += [stored(g) for g in declared_groups(of)]
        pods = [scheduler_pod(of, default_image="d", control=CONTROL, token="t")]
        pods += [worker_pod(of, g, 0, default_image="d") for g in groups]
        for container in (c for pod in pods for c in pod["spec"]["containers"]):
            words = Container(container).words
            for module in ("distributed.cli.dask_scheduler", "distributed.cli.dask_worker"):
                if module in words:
                    found[" ".join(words)] = words[words.index(module) :]
    return found


COMMANDS = commands()


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_todays_dask_takes_every_option(words: list[str]) -> None:
    module, *options = words
    command = importlib.import_module(module).main
    context = command.make_context(module, options, resilient_parsing=False)
    assert context.params


def test_what_dask_does_not_know_would_be_noticed() -> None:
    assert len(COMMANDS) >= 10
    with pytest.raises(click.UsageError):
        test_todays_dask_takes_every_option(["distributed.cli.dask_worker", "--nprocs", "2"])


SOURCES = ("dask-kubernetes", "Dask operator", "dask-docker")


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_names_its_source(name: str) -> None:
    first, _, _ = (HERE / f"{name}.yaml").read_text().partition("apiVersion")
    assert any(word in first for word in SOURCES)


def test_all_but_what_has_no_pods_yet_is_expected_somewhere() -> None:
    assert set(NAMES) - set(CLUSTERS) == {"autoscaler", "jobs"}
