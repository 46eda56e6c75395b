"""Python imports this by itself where PYTHONPATH has this folder: see `__main__.py` beside it."""

import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

words = [word for word in sys.orig_argv[1:] if word != "-u"]
if words[:2] in (["-m", "pip"], ["-m", "pulumi.dynamic"]) or words[0].endswith("/pulumi-language-python-exec"):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    its = {"arguments": words, "environment": dict(os.environ), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as forks:
        forks.connect(os.environ["FORKS"])
        socket.send_fds(forks, [json.dumps(its).encode()], [0, 1, 2])
        code = forks.recv(1)
    os._exit(code[0] if code else 1)
runpy.run_path(str(Path(__file__).parents[3] / "simulator" / "dial" / "sitecustomize.py"))
