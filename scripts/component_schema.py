"""Write provider/schema.json from the components in provider/. With --check, exit 1 when it is not current."""

import json
import sys
from pathlib import Path

from pulumi.provider.experimental.component import ComponentProvider

sys.path.insert(0, str(Path(__file__).parent.parent))

# The project is not installed, and a script's own folder is all that Python looks in.
from provider.offered import COMPONENTS, NAME, VERSION

FILE = Path(__file__).parent.parent / "provider" / "schema.json"


def main() -> int:
    """Write the schema, or only say whether it is current."""
    served = ComponentProvider(COMPONENTS, NAME, version=VERSION).schema or ""
    schema = json.dumps(json.loads(served), indent=4, ensure_ascii=False) + "\n"
    if sys.argv[1:] != ["--check"]:
        FILE.write_text(schema)
        return 0
    if FILE.exists() and FILE.read_text() == schema:
        return 0
    print(
        "provider/schema.json is not what the components take and give; run: python scripts/component_schema.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
