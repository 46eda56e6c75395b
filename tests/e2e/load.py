"""Asks http://ADDRESS/ 50 times a second until standard input ends; prints how many were asked, and what failed when.

usage: load.py ADDRESS     prints {"asked": NUMBER, "failed": [[SECONDS, TEXT], …]}
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
    begun, asked = time.monotonic(), 0
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
            asked += 1
            pool.submit(ask, time.monotonic() - begun)
    print(json.dumps({"asked": asked, "failed": failed}))


if __name__ == "__main__":
    main(sys.argv[1])
