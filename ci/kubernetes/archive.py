"""Image archives made by hand, as `docker save` writes them: no build tool is needed."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# Name, settings of its processes, files of its layers from the bottom up.
Image = tuple[str, Mapping[str, object], Sequence[Path]]


def pause(file: Path, name: str, program: Path) -> None:
    """Write an archive of an image that holds one static program."""
    layer = file.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        _add(tar, "pause", program.read_bytes())
    write(file, [(name, {"Entrypoint": ["/pause"], "User": "65535:65535"}, [layer])])
    layer.unlink()


def write(file: Path, images: Sequence[Image]) -> None:
    """Write an archive of images; a layer that several have is in it once."""
    digests = {path: sha256(path) for _, _, layers in images for path in layers}
    manifest = []
    with tarfile.open(file, "w") as tar:
        for path, digest in digests.items():
            entry = tarfile.TarInfo(f"{digest}.tar")
            entry.size = path.stat().st_size
            with path.open("rb") as opened:
                tar.addfile(entry, opened)
        for name, settings, layers in images:
            config = json.dumps(
                {
                    "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
                    "os": "linux",
                    "config": settings,
                    "rootfs": {
                        "type": "layers",
                        "diff_ids": [f"sha256:{digests[path]}" for path in layers],
                    },
                }
            ).encode()
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(tar, config_name, config)
            files = [f"{digests[path]}.tar" for path in layers]
            manifest.append({"Config": config_name, "RepoTags": [name], "Layers": files})
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def sha256(file: Path) -> str:
    """A file's digest."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o755
    tar.addfile(entry, io.BytesIO(content))
