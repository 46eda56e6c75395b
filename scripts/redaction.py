"""Text that others will read, without a stack's secrets."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from status.stack import SIGNATURE

HIDDEN = "[secret]"
SHORTEST = 8
"""Characters. What is shorter, and none that a person has set, is a word like `root`, which all else is full of."""
KEY = re.compile(r"[0-9a-f]{20,}|(?=\S*[a-z])(?=\S*[A-Z])(?=\S*\d)[A-Za-z0-9+/=]{20,}")
"""What within a secret is one by itself: a token, a line of a key, a certificate's; and no path or word."""
PATTERNS = {
    "any private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "any token of k3s": r"K10[0-9a-f]{64}::\w+:\w+",
    "any JSON web token": r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+",
}
"""What is secret in whatever stack, by what it is called here."""


class Redaction:
    """Takes secrets out of text, and knows what each is called."""

    def __init__(self, given: Mapping[str, str], resources: Iterable[Mapping[str, Any]]) -> None:
        """`given`: the name of each secret that is hidden whatever it is. Of the `resources`, as `pulumi stack export
        --show-secrets` has them, those are hidden that are nowhere among them in plain text."""
        found = [leaf for its in resources for leaf in leaves(its, its["urn"].split("::")[-1])]
        plain = {word for _, text, secret in found if not secret for word in (text, *text.split())}
        self.names = {form: name for text, name in given.items() for form in forms(text)}
        for name, text, secret in found:
            for form in forms(text) if secret and len(text) >= SHORTEST else ():
                if form not in plain:
                    self.names.setdefault(form, name)
        # One may have another one in it.
        self.forms = sorted(self.names, key=len, reverse=True)

    def of(self, text: str) -> tuple[str, Counter[str]]:
        """The text without them, and how often each was in it."""
        hidden: Counter[str] = Counter()
        for form in self.forms:
            if form in text:
                hidden[self.names[form]] += text.count(form)
                text = text.replace(form, HIDDEN)
        for name, pattern in PATTERNS.items():
            text, count = re.subn(pattern, HIDDEN, text, flags=re.DOTALL)
            hidden[name] += count
        return text, +hidden


def leaves(value: Any, name: str, *, secret: bool = False) -> Iterator[tuple[str, str, bool]]:
    """Name and text of each string in it, and whether that is secret."""
    match value:
        case {"plaintext": text} if SIGNATURE in value:
            yield from leaves(json.loads(text), name, secret=True)
        case dict():
            for key, item in value.items():
                yield from leaves(item, f"{name} {key}", secret=secret)
        case list():
            for item in value:
                yield from leaves(item, name, secret=secret)
        case str() if value:
            yield name, value, secret


def forms(secret: str) -> Iterator[str]:
    """What it may look like elsewhere: as it is, escaped, each key or token in it, and all these in base64."""
    for text in {secret, secret.strip(), *KEY.findall(secret)} - {""}:
        yield text
        yield json.dumps(text)[1:-1]
        for before in range(3):
            coded = base64.b64encode(b" " * before + text.encode()).decode()
            # Without what depends on its neighbours.
            part = coded[-(-before * 8 // 6) : (before + len(text.encode())) * 8 // 6]
            if len(part) >= SHORTEST:
                yield from (part, part.translate(str.maketrans("+/", "-_")))
