"""The engine's Python processes as forks of one that has imported what stays the same: on that each spends most of its
time, and there are hundreds. `sitecustomize.py` beside this file, in each of them, asks for a fork and waits for it.

Standard input is the socket to be asked at.
"""

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import socket
import sys
from multiprocessing.connection import wait
from pathlib import Path

IMPORTED = (
    *("asyncssh", "pip._internal.commands.list", "pulumi", "pulumi_command.remote", "pulumi_linode", "settings"),
    *(f"pulumi_kubernetes.{module}" for module in ("apps.v1", "core.v1", "helm.v3", "provider")),
)
FORK = multiprocessing.get_context("fork")


def answer(asker: socket.socket) -> None:
    told, files, _, _ = socket.recv_fds(asker, 1 << 20, 3)
    its = FORK.Process(target=become, args=[files], kwargs=json.loads(told))
    its.start()
    if asker in wait([asker, its.sentinel]):
        its.kill()  # as who asked was
    else:
        its.join()
        asker.send(bytes([abs(its.exitcode or 0)]))


def become(files: list[int], arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run what the process that asks would have run."""
    for standard, file in enumerate(files):
        os.dup2(file, standard)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    runpy.run_module("simulator.dial.sitecustomize")
    gc.enable()
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], folder
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    gc.disable()
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as listening:
        while True:
            asker, _ = listening.accept()
            FORK.active_children()  # waits for those that have ended
            FORK.Process(target=answer, args=[asker]).start()
            asker.close()


if __name__ == "__main__":
    main()
