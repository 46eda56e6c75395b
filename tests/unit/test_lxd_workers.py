"""Instances are made more than four at a time: the process that serves dynamic resources is Pulumi's own."""

import re
import subprocess
import sys
from pathlib import Path

import pulumi.dynamic
import pytest

from lxd_resources.workers import AT_ONCE

SERVER = Path(pulumi.dynamic.__file__).parent / "__main__.py"
MEET = f"""
import gc, threading
from lxd_resources.workers import widen
there = threading.Barrier({AT_ONCE})

class Event:
    def wait(self):
        (pool,) = [its for its in gc.get_objects() if type(its).__name__ == "ThreadPoolExecutor"]
        pool.submit({{first}}).result()
        work = [pool.submit(there.wait, 2) for _ in range({AT_ONCE})]
        print(sum(each.exception() is None for each in work))
"""


@pytest.mark.parametrize(("first", "met"), [("widen", AT_ONCE), ("int", 0)])
def test_all_nodes_are_made_at_once(first: str, met: int) -> None:
    """In Pulumi's own server, whose wait for requests is replaced by work that ends when so many do it."""
    served = SERVER.read_text()
    assert "max_workers=4" in served
    program = re.sub(r"\nmain\(\)\s*$", MEET.replace("{first}", first) + "\nmain()\n", served)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split()[-1] == str(met), done.stderr
