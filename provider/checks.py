"""What a program gives is looked at before anything is made, as a stack's configuration is, and by the same types."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from settings import ConfigurationError, values


class Instance(TypedDict, total=False):
    address: values.NodeAddress
    generation: values.Generation


class Arguments(TypedDict, total=False):
    """Of all components, by their names."""

    host: values.HostAddress
    host_key: values.HostKey
    user: values.UserName
    port: values.Port
    bridge: values.BridgeName
    bridge_address: values.BridgeAddress
    dhcp_range: values.DhcpRange
    instances: dict[str, Instance]
    authorized_keys: list[values.AuthorizedKey]
    image: values.LxdImage
    login_user: values.UserName
    project: values.ProjectName
    storage_pool: values.PoolName
    timeout_seconds: values.Seconds
    address: values.NodeAddress
    asn: values.Asn
    node_asn: values.Asn
    nodes: list[values.NodeAddress]
    pool: values.Pool
    hold_time_seconds: values.HoldTime
    keepalive_time_seconds: values.TimerSeconds
    restart_time_seconds: values.RestartTime


ARGUMENTS = TypeAdapter(Arguments)


def check(args: Mapping[str, Any]) -> None:
    """Raises ConfigurationError with every problem. What the program itself does not know yet is not looked at."""
    try:
        ARGUMENTS.validate_python(known(args))
    except ValidationError as error:
        problems = [
            f"{'.'.join([to_camel(str(key)), *map(str, rest)])}: {its.get('ctx', {}).get('text', its['msg'])}"
            for its in error.errors()
            for key, *rest in [its["loc"]]
        ]
        raise ConfigurationError(problems) from None


def known(value: Any) -> Any:
    """The value without what is an Output."""
    if isinstance(value, Mapping):
        return {key: known(item) for key, item in value.items() if not isinstance(item, pulumi.Output)}
    if isinstance(value, list):
        return [known(item) for item in value if not isinstance(item, pulumi.Output)]
    return value
