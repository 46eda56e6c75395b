"""Asks http://ADDRESS/ 50 times a second until standard input ends; prints how many were asked, and what failed when.

usage: load.py ADDRESS     prints {"asked": NUMBER, "failed": [[SECONDS, TEXT], …], "late": SECONDS}
"late": by how much at most it was late to ask. On a machine that has no time for that, a failure tells nothing.
"""

import json
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

EACH = 0.02
LIMIT = 2


def main(address: str) -> None:
    begun, asked, late = time.monotonic(), 0, 0.0
    failed: list[tuple[float, str]] = []
    over = threading.Event()

    def ask(at: float) -> None:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=LIMIT) as answer:
                answer.read()
        except OSError as error:
            failed.append((round(at, 2), str(error)))

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    with ThreadPoolExecutor(120) as pool:
        while not over.wait(max(0, begun + asked * EACH - time.monotonic())):
            late = max(late, time.monotonic() - begun - asked * EACH)
            asked += 1
            pool.submit(ask, time.monotonic() - begun)
    print(json.dumps({"asked": asked, "failed": sorted(failed), "late": round(late, 2)}))


if __name__ == "__main__":
    main(sys.argv[1])
