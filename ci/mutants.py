"""`make mutants`: is every meaning of the densest lines held by a unit test?

Each line that tests/mutants.toml lists is changed in a copy of the controller, one after the other, and the unit tests
named for its file are run on that copy: they must fail. It ends with 1 when one change is seen by no test and nobody
has explained why, or when one that was explained is seen by now.

Neither mutmut nor cosmic-ray does this: both make their mutations themselves, from operators, for whole modules, and run
one set of tests for all of them. A list of changes with a meaning, each with tests of its own, has no place in them.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.toml"
PACKAGE = Path("controller/dask_gitops")
KILLED, SURVIVED, BROKEN = "killed", "SURVIVED", "BROKEN"
LONGEST_S = 1800  # a change that makes the tests run for ever is seen, too
PASSED, FAILED = 0, 1  # pytest's exit codes


@dataclass(frozen=True)
class Mutant:
    """One line and what it becomes; ``survives`` says why no test can see it."""

    file: str
    line: str
    becomes: str
    survives: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.line}"

    def applied(self, source: str) -> str:
        """The source with this change; ValueError unless the line stands there exactly once."""
        lines = source.splitlines(keepends=True)
        found = [n for n, line in enumerate(lines) if line.strip() == self.line]
        if len(found) != 1:
            raise ValueError(
                f"{self}: stands {len(found)} times in {PACKAGE / self.file}, not once; "
                f"bring {LIST.relative_to(ROOT)} to what the source says now"
            )
        lines[found[0]] = lines[found[0]].replace(self.line, self.becomes)
        return "".join(lines)


def listed(path: Path = LIST) -> tuple[list[Mutant], dict[str, list[str]]]:
    """The changes, and the tests for each file."""
    found = tomllib.loads(path.read_text())
    return [Mutant(**one) for one in found["mutant"]], found["tests"]


def problems(mutants: list[Mutant], tests: dict[str, list[str]], root: Path = ROOT) -> list[str]:
    """What is wrong with the list itself."""
    found = []
    for mutant in mutants:
        try:
            source = mutant.applied((root / PACKAGE / mutant.file).read_text())
            compile(source, mutant.file, "exec")
        except (ValueError, SyntaxError, OSError) as error:
            found.append(str(error))
        if mutant.file not in tests:
            found.append(f"{mutant.file}: [tests] names no tests for it")
        if mutant.line == mutant.becomes:
            found.append(f"{mutant}: it becomes what it is")
    used = {mutant.file for mutant in mutants}
    found += [
        f"{file}: [tests] names it, and no line of it is changed" for file in tests.keys() - used
    ]
    paths = {path for some in tests.values() for path in some}
    return found + [
        f"{path}: there is no such test" for path in paths if not (root / path).exists()
    ]


def environment(package: Path) -> dict[str, str]:
    """For a process that imports the controller of this folder."""
    return {**os.environ, "PYTHONPATH": f"{package.parent}{os.pathsep}{ROOT}"}


def imported(package: Path) -> Path:
    """Where the tests' process finds the controller: with another one, no change would ever be seen."""
    program = "import tests.conftest, tests.unit.test_bench, dask_gitops as d; print(d.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(package),
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip()).parent


def passes(package: Path, tests: list[str]) -> int | None:
    """pytest's exit code with the controller of this folder; None: it took too long."""
    words = ["-q", "-x", "-p", "no:cacheprovider", "-o", f"pythonpath={ROOT} {package.parent}"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, *tests],
            cwd=ROOT,
            env=environment(package),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


class Copies:
    """Copies of the controller, one for each that works at the same time."""

    def __init__(self, folder: Path, number: int) -> None:
        self._free: queue.Queue[Path] = queue.Queue()
        for n in range(number):
            copy = folder / str(n) / "controller" / PACKAGE.name
            shutil.copytree(ROOT / PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
            self._free.put(copy)

    @contextmanager
    def one(self) -> Iterator[Path]:
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)


def judge(mutant: Mutant, tests: list[str], copies: Copies) -> str:
    """What became of this change."""
    with copies.one() as package:
        path = package / mutant.file
        source = path.read_text()
        path.write_text(mutant.applied(source))
        try:
            code = passes(package, tests)
        finally:
            path.write_text(source)
    return {PASSED: SURVIVED, FAILED: KILLED, None: KILLED}.get(code, BROKEN)


def main(only: str = "") -> int:
    """:param only: a part of a file's name or of a line; others are left out."""
    mutants, tests = listed()
    bad = problems(mutants, tests)
    if bad:
        print("\n".join(bad))
        return 1
    chosen = [mutant for mutant in mutants if only in str(mutant)]
    if not chosen:
        print(f"no line of {LIST.relative_to(ROOT)} has {only!r} in it")
        return 1
    at_once = os.cpu_count() or 1
    ends: dict[Mutant, str] = {}
    with tempfile.TemporaryDirectory(prefix="dask-gitops-mutants-") as folder:
        copies = Copies(Path(folder), at_once)
        with copies.one() as package:
            if (found := imported(package)) != package:
                print(f"the tests import the controller of {found}, not of {package}")
                return 1
        with ThreadPoolExecutor(at_once) as pool:
            if not _unchanged(sorted({m.file for m in chosen}), tests, copies, pool):
                return 1
            jobs = {pool.submit(judge, m, tests[m.file], copies): m for m in chosen}
            started = time.monotonic()
            for number, job in enumerate(as_completed(jobs), 1):
                ends[jobs[job]] = job.result()
                seconds = time.monotonic() - started
                print(
                    f"{number:3} of {len(chosen)}  {seconds:5.0f} s  {job.result():8}  {jobs[job]}",
                    flush=True,
                )
    return report(chosen, ends)


def _unchanged(
    files: list[str], tests: dict[str, list[str]], copies: Copies, pool: ThreadPoolExecutor
) -> bool:
    """Without any change all tests must pass, or a failure says nothing."""

    def run(path: str) -> int | None:
        with copies.one() as package:
            return passes(package, [path])

    paths = sorted({path for file in files for path in tests[file]})
    failed = []
    for path, code in zip(paths, pool.map(run, paths), strict=True):
        print(f"without a change: {path} {'passes' if code == PASSED else 'FAILS'}", flush=True)
        failed += [] if code == PASSED else [path]
    for path in failed:
        print(f"{path} fails without any change; mend that first")
    return not failed


def report(mutants: list[Mutant], ends: dict[Mutant, str]) -> int:
    """Print what is left, and return the exit code."""
    unexplained = [m for m in mutants if ends[m] != KILLED and not m.survives]
    outdated = [m for m in mutants if ends[m] != SURVIVED and m.survives]
    for mutant in mutants:
        if ends[mutant] != KILLED:
            why = mutant.survives or "no test sees it: write one, or explain it in the list"
            print(f"{ends[mutant]}  {mutant}\n          {mutant.becomes}\n          ({why})")
    for mutant in outdated:
        print(f"is {ends[mutant]} by now, so take its `survives` away  {mutant}")
    count = sum(end == KILLED for end in ends.values())
    print(f"{len(mutants)} lines changed: {count} killed, {len(mutants) - count} not", end="")
    print(f", {len(unexplained)} of them unexplained" if unexplained else "")
    return 1 if unexplained or outdated else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
