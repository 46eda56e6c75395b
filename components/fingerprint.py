"""What a check rests on, as one word."""

import hashlib
import json
from typing import Any

import pulumi


def fingerprint(*parts: pulumi.Input[Any]) -> pulumi.Output[str]:
    """Another one when any of `parts` is another. A secret: from a plain digest a password could be guessed."""
    text = pulumi.Output.all(*parts).apply(lambda known: json.dumps(known, sort_keys=True))
    return pulumi.Output.secret(text.apply(lambda known: hashlib.sha256(known.encode()).hexdigest()))
