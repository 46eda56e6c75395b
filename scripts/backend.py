"""Pulumi's file backend after a run that was killed."""

import json
import shutil
from pathlib import Path


def restore(state: Path, stack: str) -> bool:
    """Where the write of the stack's state was cut off, go back to the state before it; says whether it was.

    The backend (Pulumi 3.259) then leaves a file that ends too soon, with the one before it beside it. What was made in
    between is not in that state; the program's resources take up what is theirs.
    """
    file = state / ".pulumi" / "stacks" / "cilium-bgp" / f"{stack}.json"
    if not file.exists():
        return False
    try:
        json.loads(file.read_text())
    except ValueError:
        shutil.copy(file.with_name(f"{file.name}.bak"), file)
        return True
    return False
