"""A plugin of the controller, installed as pip would: a module and its entry point in a folder on PYTHONPATH."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, name: str, source: str) -> Path:
    """Put a module ``name`` into the folder, with the entry point that the controller looks for.

    :return: the folder, for PYTHONPATH.
    """
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dask_operator_plugin]\n{name} = {name}\n")
    return folder
