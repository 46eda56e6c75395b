"""Serves the components to the engine, which starts this folder by its PulumiPlugin.yaml."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pulumi.provider.experimental import component_provider_host  # noqa: E402

from provider.offered import COMPONENTS, NAME, VERSION  # noqa: E402

component_provider_host(COMPONENTS, NAME, version=VERSION)
