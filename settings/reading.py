"""From the stack's configuration to Settings, or to every problem in it."""

import json
from collections.abc import Mapping

from pydantic import ValidationError

from settings.models import Settings

SECRETS = ("sshPrivateKey", "bgpPassword", "ngrokAuthtoken")


class ConfigurationError(ValueError):
    """Every problem of a configuration, one line each: key, value, consequence, fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse(values: Mapping[str, object], secrets: Mapping[str, str]) -> Settings:
    """Settings from root keys: plain ones by value, secret ones as text. Raises ConfigurationError."""
    try:
        return Settings.model_validate({**values, **secrets})
    except ValidationError as error:
        raise ConfigurationError([f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]) from None


def load() -> Settings:
    """Settings of the stack that runs. Raises pulumi.RunError, of which Pulumi prints the message alone."""
    import pulumi
    from pulumi.runtime.config import CONFIG, is_config_secret

    prefix = f"{pulumi.get_project()}:"
    values: dict[str, object] = {}
    secrets: dict[str, str] = {}
    for key, text in CONFIG.get().items():
        if not key.startswith(prefix):
            continue
        root = key.removeprefix(prefix)
        if root in SECRETS and is_config_secret(key):
            secrets[root] = text
        else:
            try:
                values[root] = json.loads(text)
            except ValueError:
                values[root] = text
    try:
        return parse(values, secrets)
    except ConfigurationError as error:
        raise pulumi.RunError(str(error)) from None
