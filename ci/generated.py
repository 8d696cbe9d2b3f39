"""Files that a program writes and that lie in the repository all the same: written, or checked by a test."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(program: str, about: str | None, files: Mapping[Path, str]) -> int:
    """The whole of such a program: exit code 1 when `--check` finds a file that is not current.

    :param files: paths below the repository's root, with the text that they should have.
    """
    parser = argparse.ArgumentParser(prog=program, description=(about or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail when a file is not current"
    )
    check = parser.parse_args().check
    stale = 0
    for path, text in files.items():
        target = ROOT / path
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if not check:
            target.write_text(text, encoding="utf-8")
        print(f"{path} {f'is not current; run python {program}' if check else 'written'}")
    return 1 if check and stale else 0
