"""Images as values: what is inherited, and what is no image that anybody could mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]

DIGEST, OTHER = "sha256:" + "0" * 64, "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (f"{{repository: r, tag: a, digest: '{DIGEST}'}}", "{tag: b}", "r:b"),
        (f"{{repository: r, tag: a, digest: '{DIGEST}'}}", f"{{tag: b, digest: '{OTHER}'}}", f"r:b@{OTHER}"),
        (f"{{repository: r, digest: '{DIGEST}'}}", "{pullPolicy: Always}", f"r@{DIGEST}"),
        (f"{{repository: r, digest: '{DIGEST}'}}", "{repository: mirror/r}", f"mirror/r@{DIGEST}"),
        ("{repository: r, tag: a}", "{tag: b}", "r:b"),
    ],
)  # fmt: skip
def test_a_cluster_over_the_defaults(one: One, low: str, high: str, wanted: str) -> None:
    """A digest that is inherited is not that of another tag."""
    text = f"{{defaults: {{image: {low}}}, clusters: {{demo: {{image: {high}}}}}}}"
    assert one(text, "DaskCluster")["spec"]["image"] == wanted


OWN = {
    "a tag": ("{tag: b}", "r/x:b"),
    "the same repository": ("{repository: r/x}", "r/x:a"),
    "both": ("{repository: other, tag: b}", "other:b"),
    "a digest": (f"{{digest: '{OTHER}'}}", f"r/x@{OTHER}"),
    "a pull policy": ("{pullPolicy: Always}", None),
    "empty words": ("{repository: '', tag: ''}", None),
    "nothing": ("null", None),
}


@pytest.mark.parametrize("where", ["clusters", "defaults"])
@pytest.mark.parametrize(("own", "wanted"), OWN.values(), ids=OWN.keys())
def test_a_group_and_a_job_have_the_rest_of_their_cluster(
    one: One, where: str, own: str, wanted: str | None
) -> None:
    image = f"image: {{repository: r/x, tag: a, digest: '{DIGEST}'}}"
    cluster, defaults = (f"{image}, ", "") if where == "clusters" else ("", image)
    text = f"""
    defaults: {{{defaults}}}
    clusters: {{demo: {{{cluster}workerGroups: {{g: {{image: {own}}}}}}}}}
    jobs: {{report: {{args: [x], image: {own}, cluster: {{{cluster}workerGroups: {{g: {{image: {own}}}}}}}}}}}
    """

    def image_of(pod: Any) -> Any:
        return (pod.get("spec") or {"containers": [{}]})["containers"][0].get("image")

    job = one(text, "DaskJob")["spec"]
    group = one(text, "DaskWorkerGroup")["spec"].get("worker", {})
    inner = job["cluster"]["spec"]["workerGroups"][0].get("worker", {})
    assert [image_of(pod) for pod in (group, job["job"], inner)] == [wanted] * 3


@pytest.mark.parametrize("cluster", ["{repository: r, tag: a}", "{tag: a}", f"{{repository: r, tag: a, digest: '{DIGEST}'}}"])  # fmt: skip
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{{defaults: {{image: {}}}, clusters: {{demo: {{workerGroups: {{g: {{image: {}}}}}}}}}}}", "clusters.demo.workerGroups.g"),
        ("{{defaults: {{image: {}}}, jobs: {{demo: {{args: [x], image: {}}}}}}}", "jobs.demo"),
        ("{{jobs: {{demo: {{args: [x], cluster: {{image: {}, workerGroups: {{g: {{image: {}}}}}}}}}}}}}", "jobs.demo.cluster.workerGroups.g"),
    ],
)  # fmt: skip
def test_another_repository_never_has_the_tag_of_the_cluster(
    helm: Helm, values: Write, cluster: str, text: str, path: str
) -> None:
    """Nobody says that it has this tag."""
    said = values(text.format(cluster, "{repository: q/q}"))
    told = helm.refusal("--values", said)
    assert f"{path}.image: q/q has neither tag nor digest" in told
    assert "give image.tag" in told


def test_dasks_own_repository_by_its_name_is_no_other_one(one: One) -> None:
    text = "clusters: {demo: {image: {tag: a}, workerGroups: {g: {image: {repository: ghcr.io/dask/dask}}}}}"
    (worker,) = one(text, "DaskWorkerGroup")["spec"]["worker"]["spec"]["containers"]
    assert worker["image"] == "ghcr.io/dask/dask:a"


def test_without_any_repository_a_tag_is_one_of_dasks(one: One) -> None:
    text = "clusters: {demo: {workerGroups: {g: {image: {tag: b}}}}}"
    (worker,) = one(text, "DaskWorkerGroup")["spec"]["worker"]["spec"]["containers"]
    assert worker["image"] == "ghcr.io/dask/dask:b"


REFUSED = {
    "a repository with a tag": (
        "clusters: {demo: {image: {repository: 'a/b:1.0'}}}",
        ["clusters.demo.image.repository", "a/b:1.0", "image.tag"],
    ),
    "a repository with a tag beside another": (
        "clusters: {demo: {image: {repository: 'a/b:1.0', tag: '2'}}}",
        ["clusters.demo.image.repository", "a/b:1.0"],
    ),
    "a repository with a digest": (
        f"clusters: {{demo: {{image: {{repository: 'a/b@{DIGEST}'}}}}}}",
        ["clusters.demo.image.repository", "image.digest"],
    ),
    "no tag at all": (
        "clusters: {demo: {image: {repository: 'registry:5000/a/b'}}}",
        ["clusters.demo.image", "registry:5000/a/b has neither tag nor digest", "image.tag"],
    ),
    "of a group": (
        "clusters: {demo: {workerGroups: {g: {image: {repository: a/b}}}}}",
        ["clusters.demo.workerGroups.g.image", "neither tag nor digest"],
    ),
    "of a job": (
        "jobs: {demo: {args: [x], image: {repository: 'a/b:1'}}}",
        ["jobs.demo.image.repository", "a/b:1"],
    ),
    "of a job's cluster": (
        "jobs: {demo: {args: [x], cluster: {image: {repository: a/b}}}}",
        ["jobs.demo.cluster.image", "neither tag nor digest"],
    ),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_image_is_refused(
    helm: Helm, values: Write, text: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(text))
    assert all(word in told for word in words), told
