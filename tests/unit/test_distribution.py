"""What `pip install dask-gitops` brings, what each extra adds, and that nobody imports more than it has.

An environment with less than this one is a folder of links into it.
"""

from __future__ import annotations

import ast
import email.message
import email.parser
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import dask_gitops
import pytest
from dask_gitops.client import errors
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "controller/pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: The controller's image holds these, and what Python brings.
IMAGE = {
    "aiohappyeyeballs", "aiohttp", "aiohttp-retry", "aiosignal", "annotated-types", "attrs", "certifi", "charset-normalizer",
    "click", "durationpy", "frozenlist", "idna", "iso8601", "jsonpatch", "jsonpointer", "kopf", "kubernetes", "multidict",
    "oauthlib", "prometheus-client", "propcache", "pydantic", "pydantic-core", "python-dateutil", "python-json-logger", "pyyaml",
    "requests", "requests-oauthlib", "typing-extensions", "typing-inspection", "tzdata", "urllib3", "websocket-client", "yarl",
}  # fmt: skip


def with_theirs(requirements: Iterable[str]) -> set[str]:
    """The distributions that an empty environment would get for them, as far as this platform asks for them."""
    found: set[str] = set()
    asked: set[tuple[str, str]] = set()
    todo = [Requirement(line) for line in requirements]
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        found.add(name)
        for extra in ("", *one.extras):
            if (name, extra) in asked:
                continue
            asked.add((name, extra))
            for line in distribution(name).requires or ():
                more = Requirement(line)
                if more.marker is None or more.marker.evaluate({"extra": extra}):
                    todo.append(more)
    return found


class Environments:
    """Folders that hold some of the distributions of this environment, and no other."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.made: dict[frozenset[str], Path] = {}

    def run(self, has: Iterable[str], program: str) -> subprocess.CompletedProcess[str]:
        """By a Python that has these alone."""
        key = frozenset(has)
        if key not in self.made:
            self.made[key] = folder = self.place / str(len(self.made))
            folder.mkdir()
            for name in key:
                for file in distribution(name).files or ():
                    link = folder / file.parts[0]
                    if file.parts[0] != ".." and not link.exists():
                        link.symlink_to(distribution(name).locate_file(file.parts[0]))
        env = {"PYTHONPATH": f"{self.made[key]}:{ROOT / 'controller'}", "PATH": "/usr/bin:/bin"}
        words = [sys.executable, "-S", "-B", "-c", program]
        return subprocess.run(words, capture_output=True, text=True, env=env, timeout=120)


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    return Environments(tmp_path_factory.mktemp("environments"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built of a copy: setuptools leaves things beside the source."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / "controller", place / "source", ignore=shutil.ignore_patterns("__pycache__", "build")
    )
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]  # fmt: skip
    done = subprocess.run(
        [*words, "--wheel-dir", place, place / "source"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = place.glob("*.whl")
    return zipfile.ZipFile(file)


def about(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [p for p in wheel.namelist() if p.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    return email.parser.Parser().parsestr(about(wheel, "METADATA"))


def test_the_wheel_says_what_it_needs(wheel: zipfile.ZipFile) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == ("dask-gitops", dask_gitops.__version__)
    assert said["Requires-Python"] == ">=3.11"
    assert set(said.get_all("Provides-Extra", [])) == {"controller", "cli", "jupyter"}
    needs = [Requirement(line) for line in said.get_all("Requires-Dist", [])]
    base = {one.name for one in needs if one.marker is None}
    assert base == {"aiohttp", "click", "dask", "distributed", "pyyaml", "rich"}
    image = {
        one.name for one in needs if one.marker and one.marker.evaluate({"extra": "controller"})
    }
    assert image == {"aiohttp", "kopf", "kubernetes", "prometheus-client", "pyyaml"}


def test_the_wheel_holds_what_runs(wheel: zipfile.ZipFile) -> None:
    source = {
        str(path.relative_to(ROOT / "controller"))
        for path in (ROOT / "controller/dask_gitops").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "dask_gitops/py.typed" in source
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == source


def test_entry_points_lead_to_something(wheel: zipfile.ZipFile) -> None:
    said = ConfigParser()
    said.read_string(about(wheel, "entry_points.txt"))
    points = {section: dict(said[section]) for section in said.sections()}
    assert {section: set(names) for section, names in points.items()} == {
        "console_scripts": {"dask-gitops", "dask-gitops-controller"},
        "dask_cli": {"gitops"},
        "dask_cluster_discovery": {"gitops"},
    }
    for names in points.values():
        for target in names.values():
            module, _, name = target.partition(":")
            assert callable(getattr(importlib.import_module(module), name)), target


def test_an_empty_environment_gets_the_client_alone(wheel: zipfile.ZipFile) -> None:
    needs = [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
    got = with_theirs(str(one) for one in needs if one.marker is None)
    assert {"dask", "distributed", "aiohttp", "rich"} <= got
    assert not got & {"kopf", "kubernetes", "prometheus-client", "jsonschema", "ipywidgets"}
    assert len(got) < 50


def test_the_controllers_image_has_no_dask() -> None:
    sys.path.insert(0, str(ROOT / "ci/kubernetes"))
    try:
        layers = importlib.import_module("layers")
    finally:
        sys.path.pop(0)
    assert layers.requirements(ROOT / "controller/pyproject.toml") == EXTRAS["controller"]
    assert with_theirs(EXTRAS["controller"]) == IMAGE


def test_the_containerfile_installs_that_list_and_nothing_else(tmp_path: Path) -> None:
    text = (ROOT / "controller/Containerfile").read_text()
    program = re.search(r'^RUN python3 -c "(.+)" > requirements.txt', text, re.MULTILINE)
    assert program is not None
    words = [sys.executable, "-c", program[1]]
    done = subprocess.run(
        words, cwd=ROOT / "controller", capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:-1] == EXTRAS["controller"]
    installs = re.findall(r"pip .*install (.+)", text)
    assert ["--requirement requirements.txt" in line or "--no-deps" in line for line in installs] == [True, True]  # fmt: skip


MODULES = {
    "controller": (EXTRAS["controller"], "import dask_gitops.main, dask_gitops.__main__"),
    "client": (
        PROJECT["dependencies"],
        "import pkgutil, importlib, dask_gitops.client as c\n"
        "for m in pkgutil.iter_modules(c.__path__): importlib.import_module(f'dask_gitops.client.{m.name}')",
    ),
    "group": (PROJECT["dependencies"], "import dask_gitops.cli.group"),
    "commands": (
        PROJECT["dependencies"],
        "import dask_gitops.cli as c, pkgutil, importlib\n"
        "for m in pkgutil.iter_modules(c.__path__): importlib.import_module(f'dask_gitops.cli.{m.name}')",
    ),
    "cli": (
        PROJECT["dependencies"] + EXTRAS["cli"],
        "import dask_gitops.cli.plan.main, jsonschema",
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_each_imports_what_it_has(environments: Environments, name: str) -> None:
    requirements, program = MODULES[name]
    done = environments.run(with_theirs(requirements), program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "says"),
    [
        pytest.param(
            "from dask_gitops.__main__ import main; main()",
            "error: kopf is not installed; pip install 'dask-gitops[controller]'\n",
            id="controller",
        ),
        pytest.param(
            "from dask_gitops.cli.group import gitops; gitops(['plan', '--help'])",
            "error: prometheus_client is not installed; pip install 'dask-gitops[cli]'\n",
            id="plan",
        ),
    ],
)
def test_without_its_extra_a_command_says_which(
    environments: Environments, program: str, says: str
) -> None:
    done = environments.run(with_theirs(PROJECT["dependencies"]), program)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)


def test_a_fault_of_ours_is_no_missing_extra(environments: Environments) -> None:
    program = "from dask_gitops.extras import needs\nwith needs('cli'): import dask_gitops.nothing"
    done = environments.run(with_theirs(PROJECT["dependencies"]), program)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'dask_gitops.nothing'" in done.stderr


def imported(program: str) -> set[str]:
    """Top-level names of all modules that a fresh process has after it."""
    ends = "\nimport sys; print(*{m.partition('.')[0] for m in sys.modules})"
    env = {"PYTHONPATH": str(ROOT / "controller")}
    words = [sys.executable, "-c", program + ends]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    return set(done.stdout.split())


HEAVY = {"aiohttp", "asyncio", "dask", "distributed", "kopf", "kubernetes", "rich", "yaml"}


@pytest.mark.parametrize(
    ("program", "brings"),
    [
        pytest.param("import dask_gitops", set(), id="package"),
        pytest.param("from dask_gitops import SchedulerStartupError", set(), id="an error"),
        pytest.param("import dask_gitops.cli.group", set(), id="commands"),
        pytest.param(
            "from dask_gitops.cli.group import gitops; gitops(['status', '--help'], standalone_mode=False)",
            set(),
            id="what commands take",
        ),
        pytest.param("import dask_gitops.main", {"aiohttp", "asyncio", "kopf", "kubernetes", "yaml"}, id="controller"),
    ],
)  # fmt: skip
def test_an_import_brings_what_it_needs(program: str, brings: set[str]) -> None:
    assert imported(program) & HEAVY == brings | (imported("") & HEAVY)


def test_each_error_is_in_the_package() -> None:
    for name, found in inspect.getmembers(errors, inspect.isclass):
        assert getattr(dask_gitops, name) is found
    with pytest.raises(AttributeError, match="'dask_gitops' has no attribute 'KubeClutser'"):
        _ = dask_gitops.KubeClutser
    assert set(dask_gitops.__all__) <= set(dir(dask_gitops))


def test_each_name_leads_to_something() -> None:
    for name in dask_gitops.__all__:
        assert getattr(dask_gitops, name) is not None


def test_type_checkers_are_told_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(dask_gitops))
    (told,) = [node for node in tree.body if isinstance(node, ast.If)]
    places = {
        alias.asname: node.module
        for node in told.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert places == dask_gitops._PLACES


def test_dask_finds_the_commands() -> None:
    """As ``dask gitops``: dask takes commands of click, and calls them by their names."""
    click = importlib.import_module("click")
    group = importlib.import_module("dask_gitops.cli.group").gitops
    assert isinstance(group, click.Group)
    assert group.name == "gitops"
