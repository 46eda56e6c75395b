"""The certificate authority of the lab's own internet. Only the lab's machines trust it."""

import json
from pathlib import Path

from lab import store

NAMES = ("cloud-images.ubuntu.com", "get.k3s.io", "github.com", "raw.githubusercontent.com")
"""What the program's defaults point to, and the lab answers for."""

_AUTHORITY = ["-subj", "/CN=cilium-bgp lab", "-addext", "basicConstraints=critical,CA:TRUE"]
_SERVER = ["-subj", f"/CN={NAMES[0]}", "-addext", "basicConstraints=CA:FALSE"]
_SERVER += ["-addext", f"subjectAltName={','.join(f'DNS:{name}' for name in NAMES)}"]


def certificate() -> Path:
    return _made() / "authority.crt"


def server() -> tuple[Path, Path]:
    """Certificate and key for all of NAMES."""
    return _made() / "server.crt", _made() / "server.key"


def _made() -> Path:
    def write(folder: Path) -> None:
        store.install_packages({"openssl": "openssl"})

        def certify(name: str, options: list[str]) -> None:
            key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
            request = ["openssl", "req", "-x509", "-days", "3650", *key, *options, "-out", f"{name}.crt"]
            store.run(request, cwd=folder)
            (folder / f"{name}.key").chmod(0o600)

        certify("authority", _AUTHORITY)
        certify("server", [*_SERVER, "-CA", "authority.crt", "-CAkey", "authority.key"])

    return store.make("authority", [json.dumps([_AUTHORITY, _SERVER])], "1 s", write)
