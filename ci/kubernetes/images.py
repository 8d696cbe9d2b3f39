"""The project's images: built once per content, and brought to where pods look for them.

An image's tag is a hash of all that goes into it, so the same content is built and loaded once,
and a changed file is always a new image. With Docker or Podman the images are built there, on
python:3.13-slim. Without them (no daemon, no registry) buildah builds on a base that debootstrap
makes from the machine's own Debian packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cleanup
import node
import preflight
import programs
from common import REPOSITORY, Problem, cache, lock, need_root, report, run, run_long, seconds
from instance import Instance

PUBLIC_BASE = "python:3.13-slim"
BASE_PACKAGES = "python3,python3-pip,python3-venv,python-is-python3,ca-certificates,tini"
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")
PIP_FILES = ("PIP_CERT", "PIP_FIND_LINKS")  # paths: need the file inside the build
KEEP = 2  # archives per image


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

    def prepare(self) -> None:
        """Make ready: packages, the base image."""

    def has(self, image: str) -> bool:
        """Is that image in the store?"""

    def build(self, context: Path, image: str) -> None:
        """Build a context into the store."""

    def save(self, image: str, file: Path) -> None:
        """Write an archive that containerd can import."""

    def push(self, image: str, remote: str) -> None:
        """Send the image to a registry."""


class Docker:
    """Docker or Podman: both speak the same command line."""

    base = PUBLIC_BASE

    def __init__(self, program: str) -> None:
        """The program's name: docker or podman."""
        self.program = program

    def prepare(self) -> None:
        """It is there already."""

    def has(self, image: str) -> bool:
        """Is that image in the store?"""
        return run([self.program, "image", "inspect", image], check=False).returncode == 0

    def build(self, context: Path, image: str) -> None:
        """Build a context into the store."""
        given = [f"{name}={os.environ[name]}" for name in PIP_SETTINGS if name in os.environ]
        arguments = [word for pair in given for word in ("--build-arg", pair)]
        file = context / "Containerfile"
        command = [self.program, "build", *arguments, "--tag", image, "--file", file, context]
        run_long(image, command, image_log(image))

    def save(self, image: str, file: Path) -> None:
        """Write an archive that containerd can import."""
        run([self.program, "save", "--output", file, image])

    def push(self, image: str, remote: str) -> None:
        """Send the image to a registry."""
        run([self.program, "tag", image, remote])
        run_long(remote, [self.program, "push", remote], image_log(image))


class Buildah:
    """Builds without a daemon, in a store inside our cache."""

    def __init__(self) -> None:
        """The base's name holds a hash of what it is made of."""
        key = programs.digest(f"1 {debian_suite()} {BASE_PACKAGES}")
        self.base = f"localhost/dask-gitops-base:{key}"
        self.store = cache() / "images/store"
        self.driver = "overlay"

    def buildah(self, *words: object) -> list[object]:
        """A call of buildah on our own store."""
        places = ["--root", self.store, "--runroot", self.store.with_name("run")]
        return ["buildah", "--storage-driver", self.driver, *places, *words]

    def prepare(self) -> None:
        """Make ready: packages, the base image."""
        need_root("building images without Docker or Podman")
        programs.build([], programs.PACKAGES_IMAGES, tell_cached=False)
        cleanup.unmount(self.store)  # what a killed build may have left
        if run(self.buildah("images"), check=False, env=self.env()).returncode != 0:
            self.driver = "vfs"  # slower, works everywhere
        if not self.has(self.base):
            self.build_base()

    def env(self) -> dict[str, str]:
        """No container to isolate the build: this user's own programs run in a chroot."""
        return {"BUILDAH_ISOLATION": "chroot"}

    def build_base(self) -> None:
        """Python on Debian, from the machine's own package source."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=scratch()) as folder:
            root = Path(folder) / "root"
            include = f"--include={BASE_PACKAGES}"
            command = ["debootstrap", "--variant=minbase", include, debian_suite(), root]
            run_long("base image", [*command, *debian_source()], image_log("base"))
            for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
                shutil.rmtree(root / waste, ignore_errors=True)
                (root / waste).mkdir()
            for of_this_machine in ("etc/resolv.conf", "etc/hostname"):
                (root / of_this_machine).unlink(missing_ok=True)
            run(["tar", "--create", "--file", f"{folder}/root.tar", "--directory", root, "."])
            lines = ["FROM scratch", "ADD root.tar /", 'ENV PATH="/usr/sbin:/usr/bin:/sbin:/bin"']
            (Path(folder) / "Containerfile").write_text("\n".join([*lines, ""]))
            ignore = Path(folder) / ".dockerignore"
            ignore.write_text("root\n")
            command = self.buildah("build", "--tag", self.base, folder)
            run_long("base image", command, image_log("base"), env=self.env())
        report("base image", f"built in {seconds(started)}")

    def has(self, image: str) -> bool:
        """Is that image in the store?"""
        query = self.buildah("inspect", "--type", "image", image)
        return run(query, check=False).returncode == 0

    def build(self, context: Path, image: str) -> None:
        """Build a context; pip finds packages and certificates as it does on this machine."""
        names = [name for name in (*PIP_SETTINGS, *PIP_FILES) if name in os.environ]
        words = [f"--build-arg={name}={os.environ[name]}" for name in names]
        words += [f"--build-arg=BASE={self.base}"]
        shared = [Path("/etc/ssl/certs"), Path("/etc/pip.conf")]
        shared += [Path(os.environ[name]) for name in PIP_FILES if name in os.environ]
        words += [f"--volume={path}:{path}:ro" for path in shared if path.exists()]
        flags = ["--layers", "--pull-never", *words, "--tag", image]
        command = self.buildah("build", *flags, context)
        run_long(image, command, image_log(image), env=self.env())

    def save(self, image: str, file: Path) -> None:
        """Write an archive, in the format without compression: it never leaves this machine."""
        run(self.buildah("push", "--quiet", image, f"docker-archive:{file}:{image}"))

    def push(self, image: str, remote: str) -> None:
        """Send the image to a registry."""
        run_long(remote, self.buildah("push", image, f"docker://{remote}"), image_log(image))


class Target(Protocol):
    """Where built images go."""

    def deliver(self, builder: Builder, image: str) -> str:
        """Bring an image there unless it is there; returns the name that pods use."""


@dataclass(frozen=True)
class Node:
    """An instance's real node."""

    instance: Instance

    def deliver(self, builder: Builder, image: str) -> str:
        """Import the image's archive, which is made once."""
        if image in node.images(self.instance):
            report(image, "on the node already")
            return image
        file = archive_of(builder, image)
        started = time.monotonic()
        node.import_image(self.instance, file)
        report(image, f"imported to the node in {seconds(started)}")
        return image


@dataclass(frozen=True)
class Nowhere:
    """Only into the cache."""

    def deliver(self, builder: Builder, image: str) -> str:
        """Build, and keep the archive."""
        archive_of(builder, image)
        return image


@dataclass(frozen=True)
class Kind:
    """A kind cluster on this machine's Docker."""

    cluster: str

    def deliver(self, builder: Builder, image: str) -> str:
        """`kind load`, from Docker's store or from an archive."""
        started = time.monotonic()
        if isinstance(builder, Docker):
            need_built(builder, image)
            what: list[object] = ["docker-image", image]
        else:
            what = ["image-archive", archive_of(builder, image)]
        run_long(image, ["kind", "load", *what, "--name", self.cluster], image_log(image))
        report(image, f"loaded to kind cluster {self.cluster} in {seconds(started)}")
        return image


@dataclass(frozen=True)
class Registry:
    """A registry that the cluster pulls from."""

    prefix: str

    def deliver(self, builder: Builder, image: str) -> str:
        """Push under the registry's name."""
        need_built(builder, image)
        remote = f"{self.prefix.rstrip('/')}/{image.removeprefix('localhost/')}"
        started = time.monotonic()
        builder.push(image, remote)
        report(remote, f"pushed in {seconds(started)}")
        return remote


def deliver(names: Sequence[str], target: Target) -> dict[str, str]:
    """Build the images that are not built yet, and bring them to the target."""
    if unknown := [name for name in names if name not in IMAGES]:
        raise Problem(f"no such image: {', '.join(unknown)}; there are: {', '.join(IMAGES)}")
    builder = choose_builder()
    delivered = {}
    with lock(cache() / "images", "another build of images"):
        shutil.rmtree(cache() / "images/tmp", ignore_errors=True)  # of a killed build
        for name in names:
            image = f"localhost/{name}:{IMAGES[name].tag(builder.base)}"
            delivered[name] = target.deliver(builder, image)
    return delivered


def choose_builder() -> Builder:
    """Docker, then Podman, when they answer; else buildah. DASK_GITOPS_BUILDER names one."""
    wish = os.environ.get("DASK_GITOPS_BUILDER", "")
    for program in ("docker", "podman"):
        wished = wish in ("", program) and shutil.which(program)
        if wished and run([program, "info"], check=False, timeout=30).returncode == 0:
            return Docker(program)
    if wish not in ("", "buildah"):
        raise Problem(f"DASK_GITOPS_BUILDER={wish}: does not answer")
    return Buildah()


def need_built(builder: Builder, image: str) -> None:
    """Build an image unless the store has it."""
    builder.prepare()
    if builder.has(image):
        return report(image, "built already")
    started = time.monotonic()
    name = image.removeprefix("localhost/").partition(":")[0]
    image_log(image).unlink(missing_ok=True)
    report(image, "building ...")
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        IMAGES[name].copy_to(Path(folder))
        builder.build(Path(folder), image)
    return report(image, f"built in {seconds(started)}")


def archive_of(builder: Builder, image: str) -> Path:
    """The image's archive in the cache; made when it is not there."""
    name, _, tag = image.removeprefix("localhost/").partition(":")
    file = cache() / "images" / f"{name}-{tag}.tar"
    if file.exists():
        file.touch()  # used: the last to be thrown away
        report(image, f"built already, {file.stat().st_size / 2**20:.0f} MiB")
        return file
    need_built(builder, image)
    started = time.monotonic()
    unfinished = scratch() / file.name
    unfinished.unlink(missing_ok=True)
    builder.save(image, unfinished)
    unfinished.rename(file)
    report(image, f"saved in {seconds(started)}, {file.stat().st_size / 2**20:.0f} MiB")
    ages = sorted(file.parent.glob(f"{name}-*.tar"), key=lambda old: -old.stat().st_mtime)
    for old in ages[KEEP:]:
        old.unlink()
    return file


def scratch() -> Path:
    """Folder for unfinished things, on the file system of the finished ones."""
    folder = cache() / "images/tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def image_log(image: str) -> Path:
    """Where a build's output goes."""
    return cache() / "logs" / f"image-{image.rpartition('/')[2].partition(':')[0]}.log"


def debian_suite() -> str:
    """The machine's Debian release, which the base image is made from."""
    suite = preflight.os_release().get("VERSION_CODENAME")
    if not suite or not shutil.which("apt-get"):
        raise Problem(
            "building images needs Docker or Podman, or Debian's buildah and debootstrap. "
            "Start one of the former, or load images yourself"
        )
    return suite


def debian_source() -> list[str]:
    """The package source that apt uses here, rather than debootstrap's own choice."""
    template = "$(REPO_URI) $(RELEASE)"
    query = ["apt-get", "indextargets", "--format", template, "Created-By: Packages"]
    for line in run(query, check=False).stdout.splitlines():
        address, _, suite = line.partition(" ")
        if suite == debian_suite():
            return [address]
    return []


def describe(delivered: dict[str, str], as_json: bool) -> str:
    """The result, for a person or for a program."""
    return json.dumps(delivered, indent=2) if as_json else "\n".join(delivered.values())
