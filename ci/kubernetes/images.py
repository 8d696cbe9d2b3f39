"""The project's images: built once per content, and brought to where pods look for them.

An image's tag is a hash of all that goes into it, so the same content is built and loaded once,
and a changed file is always a new image. With Docker or Podman the images are built there, on
python:3.13-slim. Without them (no daemon, no registry) layers.py makes them from the machine's own
package sources.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import building
import layers
import node
import programs
from common import REPOSITORY, Problem, cache, lock, report, run, run_long, seconds
from instance import Instance
from parts import Part, Parts

PUBLIC_BASE = "python:3.13-slim"
COST_DOCKER = 40  # CPU seconds: only the bar rests on them
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")


@dataclass(frozen=True)
class Image:
    """What an image is made of: a folder, the files in it that matter, and its Containerfile."""

    name: str
    folder: str
    parts: tuple[str, ...]

    def files(self) -> list[Path]:
        """All files that go in, relative to the folder."""
        top = REPOSITORY / self.folder
        found: list[Path] = []
        for part in ("Containerfile", *self.parts):
            path = top / part
            if not path.exists():
                raise Problem(f"{path} is missing: the image {self.name} needs it")
            inside = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
            found += inside or [path]
        kept = [file for file in found if file.suffix != ".pyc"]
        return sorted(file.relative_to(top) for file in kept)

    def tag(self, base: str) -> str:
        """The content's hash."""
        content = hashlib.sha256(base.encode())
        for file in self.files():
            content.update(str(file).encode() + b"\0")
            content.update((REPOSITORY / self.folder / file).read_bytes() + b"\0")
        return content.hexdigest()[:12]

    def copy_to(self, target: Path) -> None:
        """Make a build context of exactly the files that the tag speaks for."""
        for file in self.files():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / self.folder / file, target / file)


_IMAGES = (
    Image("dask-gitops-controller", "controller", ("pyproject.toml", "dask_gitops")),
    Image("dask-gitops-dask", "ci/images/dask", ("requirements.txt",)),
)
IMAGES = {image.name: image for image in _IMAGES}


class Builder(Protocol):
    """A tool that builds images and has a store of its own for them."""

    base: str

    def make(self, images: Sequence[str]) -> None:
        """Build those that the store does not have."""

    def plan(self, images: Sequence[str]) -> list[Part]:
        """The same as parts of a greater work."""

    def needs(self) -> tuple[list[str], dict[str, str]]:
        """Programs and Debian packages for it."""

    def archive(self, images: Sequence[str], file: Path) -> None:
        """Write an archive of images that containerd can import."""

    def push(self, image: str, remote: str) -> None:
        """Send the image to a registry."""


class Docker:
    """Docker or Podman: both speak the same command line."""

    base = PUBLIC_BASE

    def __init__(self, program: str) -> None:
        """The program's name: docker or podman."""
        self.program = program

    def make(self, images: Sequence[str]) -> None:
        """Build those that the store does not have."""
        for image in images:
            if run([self.program, "image", "inspect", image], check=False).returncode == 0:
                report(image, "built already")
                continue
            started = time.monotonic()
            image_log(image).unlink(missing_ok=True)
            report(image, "building ...")
            with tempfile.TemporaryDirectory(dir=layers.scratch()) as folder:
                of(image).copy_to(Path(folder))
                self.build(Path(folder), image)
            report(image, f"built in {seconds(started)}")

    def plan(self, images: Sequence[str]) -> list[Part]:
        """The same as parts of a greater work."""

        def make(part: Part) -> str:
            self.make(images)
            return ""

        return [Part(f"images by {self.program}", COST_DOCKER, make)]

    def needs(self) -> tuple[list[str], dict[str, str]]:
        """Programs and Debian packages for it."""
        return [], {}

    def build(self, context: Path, image: str) -> None:
        """Build a context into the store."""
        given = [f"{name}={os.environ[name]}" for name in PIP_SETTINGS if name in os.environ]
        arguments = [word for pair in given for word in ("--build-arg", pair)]
        file = context / "Containerfile"
        command = [self.program, "build", *arguments, "--tag", image, "--file", file, context]
        run_long(image, command, image_log(image))

    def archive(self, images: Sequence[str], file: Path) -> None:
        """Write an archive of images that containerd can import."""
        several = ["--multi-image-archive"] if self.program == "podman" else []
        run([self.program, "save", *several, "--output", file, *images])

    def push(self, image: str, remote: str) -> None:
        """Send the image to a registry."""
        run([self.program, "tag", image, remote])
        run_long(remote, [self.program, "push", remote], image_log(image))


class Layers:
    """Builds without a daemon: layers in our cache."""

    def __init__(self) -> None:
        """The base's name holds a hash of what it is made of."""
        self.base = layers.base()

    def make(self, images: Sequence[str]) -> None:
        """Build those whose layers are not in the cache."""
        making = self.plan(images)
        names, packages = self.needs() if making else ([], {})
        with lock(cache(), "another build"):
            Parts([*building.plan(names, packages), *making]).run()
            building.clear()

    def plan(self, images: Sequence[str]) -> list[Part]:
        """The parts of the work that is left."""
        return layers.plan([self.recipe(image) for image in images])

    def needs(self) -> tuple[list[str], dict[str, str]]:
        """Programs and Debian packages for it."""
        return layers.needs()

    def recipe(self, image: str) -> layers.Recipe:
        """An image, with a context of exactly the files that its tag speaks for."""
        context = layers.scratch() / f"context-{of(image).name}"
        if not context.exists():
            of(image).copy_to(context)
        return layers.Recipe(image, context)

    def archive(self, images: Sequence[str], file: Path) -> None:
        """Write an archive of images that containerd can import."""
        layers.write_archive([self.recipe(image) for image in images], file)

    def push(self, image: str, remote: str) -> None:
        """Send the image to a registry."""
        building.build([], {"skopeo": "skopeo"}, tell_cached=False)
        with tempfile.TemporaryDirectory(dir=layers.scratch()) as folder:
            file = Path(folder) / "image.tar"
            self.archive([image], file)
            copy = ["skopeo", "copy", f"docker-archive:{file}", f"docker://{remote}"]
            run_long(remote, copy, image_log(image))


class Target(Protocol):
    """Where built images go."""

    def deliver(self, builder: Builder, images: Sequence[str]) -> list[str]:
        """Bring images there unless they are there; returns the names that pods use."""


@dataclass(frozen=True)
class Node:
    """An instance's real node."""

    instance: Instance

    def deliver(self, builder: Builder, images: Sequence[str]) -> list[str]:
        """Import one archive of all that are not there."""
        there = node.images(self.instance)
        if lacking := [image for image in images if image not in there]:
            builder.make(lacking)
            self.bring(builder, lacking)
        for image in images:
            if image not in lacking:
                report(image, "on the node already")
        return list(images)

    def bring(self, builder: Builder, images: Sequence[str]) -> None:
        """Import built images."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=layers.scratch()) as folder:
            builder.archive(images, Path(folder) / "images.tar")
            node.import_image(self.instance, Path(folder) / "images.tar")
        report("images", f"imported to the node in {seconds(started)}: {' '.join(images)}")


@dataclass(frozen=True)
class Nowhere:
    """Only into the cache."""

    def deliver(self, builder: Builder, images: Sequence[str]) -> list[str]:
        """Build."""
        builder.make(images)
        return list(images)


@dataclass(frozen=True)
class Kind:
    """A kind cluster on this machine's Docker."""

    cluster: str

    def deliver(self, builder: Builder, images: Sequence[str]) -> list[str]:
        """`kind load`, from Docker's store or from an archive."""
        builder.make(images)
        started = time.monotonic()
        to = ["--name", self.cluster]
        log = building.log_of("image-load")
        with tempfile.TemporaryDirectory(dir=layers.scratch()) as folder:
            what: list[object] = ["docker-image", *images]
            if not isinstance(builder, Docker):
                what = ["image-archive", Path(folder) / "images.tar"]
                builder.archive(images, Path(folder) / "images.tar")
            run_long("images", ["kind", "load", *what, *to], log)
        report(" ".join(images), f"loaded to kind cluster {self.cluster} in {seconds(started)}")
        return list(images)


@dataclass(frozen=True)
class Registry:
    """A registry that the cluster pulls from."""

    prefix: str

    def deliver(self, builder: Builder, images: Sequence[str]) -> list[str]:
        """Push under the registry's name."""
        builder.make(images)
        return [self.push(builder, image) for image in images]

    def push(self, builder: Builder, image: str) -> str:
        """Push one."""
        remote = f"{self.prefix.rstrip('/')}/{image.removeprefix('localhost/')}"
        started = time.monotonic()
        builder.push(image, remote)
        report(remote, f"pushed in {seconds(started)}")
        return remote


def deliver(names: Sequence[str], target: Target) -> dict[str, str]:
    """Build the images that are not built yet, and bring them to the target."""
    programs.unknown(names, IMAGES, "image")
    builder = choose_builder()
    with building_images():
        delivered = target.deliver(builder, full_names(names, builder))
    return dict(zip(names, delivered, strict=True))


def full_names(names: Iterable[str], builder: Builder) -> list[str]:
    """With the tags of their content."""
    return [f"localhost/{name}:{IMAGES[name].tag(builder.base)}" for name in names]


@contextlib.contextmanager
def building_images() -> Iterator[None]:
    """Alone with what is unfinished. Whoever needs the programs' lock too takes this one first."""
    with lock(cache() / "images", "another build of images"):
        shutil.rmtree(layers.scratch(), ignore_errors=True)  # of a killed build
        yield
        shutil.rmtree(layers.scratch(), ignore_errors=True)


def choose_builder() -> Builder:
    """Docker, then Podman, when they answer; else our own. DASK_GITOPS_BUILDER names one."""
    wish = os.environ.get("DASK_GITOPS_BUILDER", "")
    for program in ("docker", "podman"):
        wished = wish in ("", program) and shutil.which(program)
        if wished and run([program, "info"], check=False, timeout=30).returncode == 0:
            return Docker(program)
    if wish not in ("", "layers"):
        raise Problem(f"DASK_GITOPS_BUILDER={wish}: does not answer; use docker, podman or layers")
    return Layers()


def of(image: str) -> Image:
    """What an image with a full name is made of."""
    return IMAGES[image.rpartition("/")[2].partition(":")[0]]


def image_log(image: str) -> Path:
    """Where a build's output goes."""
    return cache() / "logs" / f"image-{image.rpartition('/')[2].partition(':')[0]}.log"


def describe(delivered: dict[str, str], as_json: bool) -> str:
    """The result, for a person or for a program."""
    return json.dumps(delivered, indent=2) if as_json else "\n".join(delivered.values())
