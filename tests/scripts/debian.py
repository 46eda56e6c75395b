"""Programs of this machine, or of its distribution's packages, unpacked and not installed."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
LOOPBACK = f"127.{20 + os.getpid() % 200}"
"""First half of loopback addresses on which another test run does not listen."""
CACHE = Path(__file__).parents[2] / ".cache" / "debian"


@cache
def program(name: str, *packages: str) -> tuple[str, dict[str, str]]:
    """Path of the program `name`, and the environment that it needs. Skips the test where it is not to be had.

    The first of `packages` has it, the others its libraries (those that this release has not are passed over).
    """
    if found := shutil.which(name, path=SYSTEM):
        return found, {}
    folder = CACHE / name
    if not folder.exists():
        part = folder.with_suffix(f".{os.getpid()}")
        part.mkdir(parents=True)
        for package in packages:
            command = ["apt-get", "-qq", "download", package]
            done = subprocess.run(command, cwd=part, capture_output=True, text=True, check=False, timeout=60)
            if done.returncode and package == packages[0]:
                pytest.skip(f"no {name} here, and none from apt: {done.stderr.strip()}")
        for file in part.glob("*.deb"):
            subprocess.run(["dpkg", "-x", file, part], check=True)
        try:
            part.rename(folder)
        except OSError:  # another worker was faster
            shutil.rmtree(part)
    (unpacked,) = (path for path in folder.glob(f"usr/*bin/{name}"))
    environment = {"LD_LIBRARY_PATH": str(folder / "usr/lib" / f"{os.uname().machine}-linux-gnu")}
    works = subprocess.run(["ldd", unpacked], env=os.environ | environment, capture_output=True, text=True, check=False)
    if "not found" in works.stdout:
        pytest.skip(f"the distribution's {name} does not run here: {works.stdout}")
    return str(unpacked), environment
