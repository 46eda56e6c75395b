"""Built things, kept under .cache/lab/NAME/KEY, where KEY is a hash of what they are made from."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache" / "lab"
LIMIT = 1800
"""Seconds that a single command, or another build of the same part, may take."""


class BuildError(Exception):
    """A part could not be built; the message says which, and how its command ended."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def make(name: str, inputs: Iterable[str | Path], usually: str, build: Callable[[Path], None]) -> Path:
    """Folder with what `build` writes, built unless it is there from the same inputs.

    An input is a text, or a path whose content counts (a folder's whole content, by sorted path). `build` gets an
    empty folder that takes its final name only when it returns, so a killed build leaves nothing that looks whole.
    Folders of other keys are removed: one copy of each part is kept.
    """
    home = CACHE / name
    done = home / digest(inputs)
    if done.is_dir():
        return done
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        # Commands of a build inherit the lock: those that outlive a killed build still hold it while they write.
        os.set_inheritable(lock.fileno(), True)
        hold(lock.fileno(), name)
        if done.is_dir():
            return done
        part = home / "part"
        clear(part)
        part.mkdir()
        say(f"building {name} … (usually {usually})")
        started = time.monotonic()
        build(part)
        for old in home.iterdir():
            if old.is_dir() and old != part:
                clear(old)
        part.rename(done)
        say(f"built {name} in {time.monotonic() - started:.0f} s")
    return done


def hold(lock: int, name: str) -> None:
    deadline = time.monotonic() + LIMIT
    waited = False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BuildError(f"another build of {name} has been running for more than {LIMIT} s") from None
        if not waited:
            say(f"waiting for another build of {name} to end …")
            waited = True
        time.sleep(0.5)


def digest(inputs: Iterable[str | Path]) -> str:
    total = hashlib.sha256()
    for value in inputs:
        files = [value] if isinstance(value, str) else sorted(p for p in (value, *value.rglob("*")) if p.is_file())
        for item in files:
            data = item.encode() if isinstance(item, str) else item.name.encode() + b"\0" + item.read_bytes()
            total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:16]


def clear(folder: Path) -> None:
    """Remove a folder, unless something is still mounted in it: then the mount's content is not ours to remove."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    if inside := [mount for mount in mounts if mount.startswith(f"{folder}/")]:
        raise BuildError(f"{folder} cannot be removed: {inside[0]} is still mounted in it. Unmount it and run again.")
    shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None


def run(command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a command; BuildError with the last lines of its standard error if it fails."""
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, check=False, close_fds=False, timeout=LIMIT
        )
    except FileNotFoundError as error:
        raise BuildError(f"{error.filename} is not installed; {shown} needs it") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{shown} did not end within {LIMIT} s") from None
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise BuildError(f"{shown}\nended with {done.returncode}:\n{last}")
    return done.stdout


def install_packages(packages: dict[str, str]) -> None:
    """Install the Debian packages (program → package) whose programs this machine does not have."""
    if missing := sorted({package for program, package in packages.items() if not shutil.which(program)}):
        say(f"installing {', '.join(missing)} …")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], env=env)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=env)
