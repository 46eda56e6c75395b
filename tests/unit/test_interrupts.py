"""What is started by a shell's `&` is told to ignore SIGINT; Pulumi's engine and its plugins must not be."""

import signal
import subprocess
import sys

PROGRAM = """
import subprocess, sys
from scripts import interrupts
interrupts.heed()
sys.exit(subprocess.call(["grep", "SigIgn", "/proc/self/status"]))
"""


def test_who_is_started_in_the_background_heeds_interrupts() -> None:
    background = ["sh", "-c", f'"{sys.executable}" -c "$0" & wait $!', PROGRAM]
    done = subprocess.run(background, capture_output=True, text=True, check=True)
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & 1 << (signal.SIGINT - 1)
