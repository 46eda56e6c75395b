"""Container image archives (the form of `docker save`, for `ctr images import`), written without a builder."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import store


@dataclass(frozen=True)
class Image:
    name: str
    """With registry and tag, as manifests ask for it: docker.io/library/name:tag."""
    layers: Sequence[Path]
    """Tar files, lowest first; images of one archive may share them."""
    entrypoint: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def layer(folder: Path, out: Path) -> Path:
    """Tar of a folder, the same bytes for the same content."""
    options = ["--sort=name", "--mtime=@0", "--numeric-owner", "--owner=0", "--group=0"]
    store.run(["tar", *options, "-C", folder, "-cf", out, "."])
    return out


def write(images: Sequence[Image], out: Path) -> None:
    digests: dict[Path, str] = {}
    manifest = []
    with tarfile.open(out, "w") as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        for image in images:
            for path in image.layers:
                if path not in digests:
                    with path.open("rb") as file:
                        digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
                    archive.add(path, f"{digests[path]}.tar")
            layers = [digests[path] for path in image.layers]
            config = {
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "Entrypoint": list(image.entrypoint),
                    "Env": [f"{key}={value}" for key, value in image.env.items()],
                    "Labels": dict(image.labels),
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layers]},
            }
            data = json.dumps(config).encode()
            name = f"{hashlib.sha256(data).hexdigest()}.json"
            add(name, data)
            tars = [f"{digest}.tar" for digest in layers]
            manifest.append({"Config": name, "RepoTags": [image.name], "Layers": tars})
        add("manifest.json", json.dumps(manifest).encode())
