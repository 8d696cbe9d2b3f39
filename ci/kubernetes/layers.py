"""Images without Docker: a Debian base by mmdebstrap, Python packages by uv, layers as plain tars.

The Containerfile stays the one that says what an image is: its last stage's ENV, WORKDIR, USER,
ENTRYPOINT, CMD and LABEL are read from it. What its RUN lines do, this file does by itself.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import archive
import building
import preflight
import programs
from common import Problem, cache, need_root, run
from parts import Part

# libstdc++6: compiled wheels, such as numpy's, rely on it.
BASE_PACKAGES = ("python3", "python-is-python3", "ca-certificates", "libstdc++6", "tini")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
WASTE = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt")
KEEP = 2  # layers per image
COST_BASE, COST_PACKAGES, COST_LAYER = 30, 8, 15  # CPU seconds: only the bar rests on them
# A file that no Python reads is no failure, but none compiled is one.
COMPILE = "python3 -m compileall -q -x '/tests?/' {where}; find {where} -name '*.pyc' | grep -q ."

# What pip is told on this machine, and how uv wants to hear it.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


@dataclass(frozen=True)
class Recipe:
    """An image to be made.

    :ivar context: the folder with its Containerfile, and what that needs.
    """

    image: str
    context: Path

    @property
    def name(self) -> str:
        """Without registry and tag."""
        return self.image.rpartition("/")[2].partition(":")[0]

    def layer(self) -> Path:
        """Where its own layer lies in the cache."""
        return folder() / f"{self.name}-{self.image.rpartition(':')[2]}.tar"


def folder() -> Path:
    """Where layers lie."""
    return cache() / "images"


def base() -> str:
    """The base's name holds a hash of what it is made of."""
    key = programs.digest(f"4 {debian_suite()} {BASE_PACKAGES} {WASTE} {COMPILE}")
    return f"localhost/dask-gitops-base:{key}"


def base_layer() -> Path:
    """Where the base lies in the cache."""
    return folder() / f"base-{base().rpartition(':')[2]}.tar"


def needs() -> tuple[list[str], dict[str, str]]:
    """Programs and Debian packages for making layers."""
    need_root("building images without Docker or Podman")
    return ["uv"], programs.PACKAGES_IMAGES


def plan(recipes: Sequence[Recipe]) -> list[Part]:
    """The parts of the work that is left: bases and packages side by side, then the layers."""
    lacking = [recipe for recipe in recipes if not recipe.layer().exists()]
    if not lacking:
        return []
    found = []
    if not base_layer().exists():
        found.append(Part("base image", COST_BASE, make_base, after=("apt packages",)))
    for recipe in lacking:
        packages = Part(
            f"{recipe.name}: packages",
            COST_PACKAGES,
            functools.partial(fetch_packages, recipe),
            # apt's lists, which a new machine may not have yet, tell the base's Python.
            after=("wheels", "apt packages"),
        )
        layer = Part(
            recipe.name,
            COST_LAYER,
            functools.partial(make_layer, recipe),
            after=(packages.name, "base image"),
        )
        found += [packages, layer]
    return found


# ---- the base


def make_base(part: Part) -> str:
    """Python on Debian, from the machine's own package source."""
    with tempfile.TemporaryDirectory(dir=scratch()) as place:
        root = Path(place) / "root"
        options = ["--mode=root", "--variant=essential", "--format=directory"]
        options += ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"']
        options += [f"--include={','.join(BASE_PACKAGES)}"]
        if preflight.os_release().get("ID") == "ubuntu":
            options += ["--components=main,universe"]
        command = ["mmdebstrap", *options, debian_suite(), root, *debian_source()]
        part.run(command, building.log_of("image-base"))
        part.fraction = 0.8
        for waste in WASTE:
            shutil.rmtree(root / waste, ignore_errors=True)
        for of_this_machine in ("etc/resolv.conf", "etc/hostname"):
            (root / of_this_machine).unlink(missing_ok=True)
        compile_in(part, root, "/usr/lib/python3*")
        pack(part, root, base_layer())
    throw_away("base")
    return f"{base_layer().stat().st_size / 2**20:.0f} MiB"


def debian_suite() -> str:
    """The machine's Debian release, which the base image is made from."""
    suite = preflight.os_release().get("VERSION_CODENAME")
    if not suite or not shutil.which("apt-get"):
        raise Problem(
            "building images needs Docker or Podman, or a Debian with mmdebstrap. "
            "Start one of the former, or load images yourself"
        )
    return suite


def debian_source() -> list[str]:
    """The package source that apt uses here, rather than mmdebstrap's own choice."""
    template = "$(REPO_URI) $(RELEASE)"
    query = ["apt-get", "indextargets", "--format", template, "Created-By: Packages"]
    for line in run(query, check=False).stdout.splitlines():
        address, _, suite = line.partition(" ")
        if suite == debian_suite():
            return [address]
    return []


def python_version() -> str:
    """The base's Python, known before there is a base."""
    shown = run(["apt-cache", "show", "--no-all-versions", "python3"]).stdout
    found = re.search(r"^Version: (\d+\.\d+)", shown, re.MULTILINE)
    if not found:
        raise Problem("apt knows no package python3: does `apt-get update` work?")
    return found[1]


# ---- Python packages


def site(recipe: Recipe) -> Path:
    """Where a recipe's packages wait for their layer."""
    return scratch() / f"site-{recipe.name}"


def fetch_packages(recipe: Recipe, part: Part) -> str:
    """Have the packages, for the base's Python, in a folder."""
    target = site(recipe)
    version = python_version()
    where = ["--python", sys.executable, "--python-version", version, "--target", target]
    install = [programs.path("uv"), "pip", "install", "--no-progress", *where]
    project = recipe.context / "pyproject.toml"
    needed = recipe.context / "requirements.txt"
    if project.exists():
        needed = scratch() / f"{recipe.name}.txt"
        needed.write_text("\n".join(requirements(project)))
    log, env = building.log_of(f"image-{recipe.name}"), uv_environment()
    part.run([*install, "--no-build", "--requirement", needed], log, env=env)
    if project.exists():
        part.run([*install, "--no-deps", recipe.context], log, env=env)
    return f"for Python {version}"


def requirements(project: Path) -> list[str]:
    """What an image of a package needs: as its Containerfile says, the extra named for the controller alone."""
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    return list(extras["controller"])


def uv_environment() -> dict[str, str]:
    """uv finds packages and certificates as pip does on this machine."""
    env = {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(cache() / "uv"))}
    told = run(["python3", "-m", "pip", "config", "list"], check=False).stdout
    for line in told.splitlines():
        key, _, value = line.partition("=")
        name = UV_NAMES.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            env[name] = uv_value(name, value.strip().strip("'\""))
    return env


def uv_value(name: str, value: str) -> str:
    """pip separates by spaces, uv separates places of wheels by commas."""
    words = value.replace("\\n", " ").split()
    return ",".join(words) if name == "UV_FIND_LINKS" else " ".join(words)


# ---- layers


def make_layer(recipe: Recipe, part: Part) -> str:
    """A virtual environment on the base's Python, with all .pyc files: a start takes seconds less."""
    with tempfile.TemporaryDirectory(dir=scratch()) as place:
        root = Path(place) / "root"
        root.mkdir()
        part.run(["tar", "-xf", base_layer(), "-C", root], building.log_of("image-base"))
        in_root = ["chroot", root, "/usr/bin/env", "-i", f"PATH={PATH}"]
        log = building.log_of(f"image-{recipe.name}")
        part.run([*in_root, "python3", "-m", "venv", "--without-pip", "/venv"], log)
        (packages,) = (root / "venv/lib").glob("python3*/site-packages")
        shutil.rmtree(packages)
        site(recipe).rename(packages)
        shutil.rmtree(packages / "bin", ignore_errors=True)
        write_scripts(packages, root / "venv/bin")
        compile_in(part, root, "/venv/lib")
        own = Path(place) / "own"
        own.mkdir()
        (root / "venv").rename(own / "venv")
        home = str(settings(recipe.context / "Containerfile").get("WorkingDir", "/"))
        if home != "/":
            (own / home.lstrip("/")).mkdir(parents=True)
            (own / home.lstrip("/")).chmod(0o1777)
        pack(part, own, recipe.layer())
    throw_away(recipe.name)
    return f"{recipe.layer().stat().st_size / 2**20:.0f} MiB"


def write_scripts(packages: Path, target: Path) -> None:
    """The commands that the packages bring."""
    for found in distributions(path=[str(packages)]):
        for entry in found.entry_points.select(group="console_scripts"):
            script = target / entry.name
            first = entry.attr.partition(".")[0]
            script.write_text(
                f"#!/venv/bin/python\nimport sys\nfrom {entry.module} import {first}\n"
                # Dask's nanny imports the program that it is in once more.
                f"if __name__ == '__main__':\n    sys.exit({entry.attr}())\n"
            )
            script.chmod(0o755)


def compile_in(part: Part, root: Path, where: str) -> None:
    """Make .pyc files, by the Python that will read them; of tests nobody will."""
    words = COMPILE.format(where=where)
    command = ["chroot", root, "/bin/sh", "-c", words]
    part.run(command, building.log_of("image-base"), env={"PATH": PATH})


def pack(part: Part, root: Path, file: Path) -> None:
    """A folder as a tar, there as a whole or not at all."""
    unfinished = scratch() / file.name
    options = ["--sort=name", "--numeric-owner", "--exclude=./dev/*", "--exclude=./proc/*"]
    command = ["tar", *options, "--create", "--file", unfinished, "--directory", root, "."]
    part.run(command, building.log_of("image-base"))
    unfinished.rename(file)


def throw_away(name: str) -> None:
    """Keep the last layers only."""
    layers = folder().glob(f"{name}-*.tar")
    for old in sorted(layers, key=lambda file: -file.stat().st_mtime)[KEEP:]:
        old.unlink()


# ---- images


def write_archive(recipes: Sequence[Recipe], file: Path) -> None:
    """One archive of several images: the base is in it once."""
    images = [
        (recipe.image, settings(recipe.context / "Containerfile"), [base_layer(), recipe.layer()])
        for recipe in recipes
    ]
    archive.write(file, images)


def settings(containerfile: Path) -> dict[str, object]:
    """What the last stage of a Containerfile says of the image's processes."""
    found: dict[str, object] = {}
    env: dict[str, str] = {"PATH": PATH}
    labels: dict[str, str] = {}
    for word, rest in instructions(containerfile.read_text()):
        if word == "FROM":
            found, env, labels = {}, {"PATH": PATH}, {}
        elif word in ("ENTRYPOINT", "CMD"):
            found[word.capitalize()] = json.loads(rest)
        elif word in ("USER", "WORKDIR"):
            found[{"USER": "User", "WORKDIR": "WorkingDir"}[word]] = rest
        elif word == "ENV":
            env |= pairs(rest)
        elif word == "LABEL":
            labels |= pairs(rest)
    found["Env"] = [f"{name}={value}" for name, value in env.items()]
    found["Labels"] = labels
    return found


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Containerfile, continued lines joined."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in kept.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word, rest.strip()


def pairs(text: str) -> dict[str, str]:
    """name=value ..., as in ENV and LABEL."""
    return dict(word.partition("=")[::2] for word in shlex.split(text))


def scratch() -> Path:
    """Folder for unfinished things, on the file system of the finished ones."""
    place = folder() / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    return place
