"""How many dynamic resources are worked on at a time.

Pulumi's SDK serves four (3.272, pulumi/dynamic/__main__.py) and has no setting for it; the instances of many nodes came
in waves of four.
"""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

AT_ONCE = 8
"""Below the ten connections from which sshd begins to drop some (MaxStartups)."""


@cache
def widen() -> None:
    """Let this process work on so many, if it is the one that serves dynamic resources; another is left as it is."""
    if hasattr(sys.modules["__main__"], "DynamicResourceProviderServicer"):
        for pool in gc.get_objects():
            if isinstance(pool, ThreadPoolExecutor):
                pool._max_workers = max(pool._max_workers, AT_ONCE)
