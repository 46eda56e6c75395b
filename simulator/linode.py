"""The linode provider of a pretend cloud: it remembers instances and firewalls, and makes no machine.

It refuses what the provider and Linode's API refuse. SIMULATOR_HOST is the address of every instance (default
127.0.0.1: the pretend host listens there), SIMULATOR_STATE the folder of linode.json.
"""

from typing import Any

from simulator import memory
from standin.serve import UNKNOWN, CheckError, Diff, Properties, Provider, Resource, changes, conceal, reveal

INSTANCE, FIREWALL = "linode:index/instance:Instance", "linode:index/firewall:Firewall"
DEVICE = "linode:index/firewallDevice:FirewallDevice"
# ForceNew in terraform-provider-linode 3; everything else the API changes in place.
REPLACED_BY = {
    INSTANCE: {
        "authorizedKeys",
        "authorizedUsers",
        "backupId",
        "diskEncryption",
        "firewallId",
        "image",
        "interfaceGeneration",
        "ipv4s",
        "metadatas",
        "networkHelper",
        "stackscriptData",
        "stackscriptId",
    },
    FIREWALL: set[str](),
    DEVICE: {"entityId", "entityType", "firewallId"},
}
COMPUTED = {
    INSTANCE: ("ipAddress", "ipv4s", "ipv6", "privateIpAddress", "status", "specs", "backups", "hostUuid"),
    FIREWALL: ("status", "devices", "created", "updated"),
    DEVICE: ("created", "updated"),
}
LABELS = {INSTANCE: 50, FIREWALL: 32}
PRIVATE_ADDRESS = "192.168.128.7"
"""Sorts before the public one."""


class Linode(Provider):
    package = "linode"

    def check(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        if resource.type not in COMPUTED:
            raise ValueError(f"{resource.type}: only {', '.join(COMPUTED)} are simulated")
        label, longest = reveal(news.get("label")), LABELS.get(resource.type, 0)
        if longest and isinstance(label, str) and not 3 <= len(label) <= longest:
            raise CheckError("label", f"expected length of label to be in the range (3 - {longest}), got {label}")
        rules = reveal(news.get("inbounds")) or []
        if len(rules) > 25 or any(len([*(r.get("ipv4s") or ()), *(r.get("ipv6s") or ())]) > 255 for r in rules):
            raise CheckError("inbounds", "at most 25 rules of at most 255 addresses each")
        return news

    def diff(self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties) -> Diff:
        found = {path: change for path, change in changes(old_inputs, news).items() if not path.startswith("__")}
        rules = REPLACED_BY[resource.type]
        return Diff(found, frozenset(path for path in found if path.split("[")[0].split(".")[0] in rules))

    def create(self, resource: Resource, inputs: Properties, preview: bool) -> tuple[str, Properties]:
        if preview:
            return "", {**dict.fromkeys(COMPUTED[resource.type], UNKNOWN), **inputs}
        given = reveal(inputs)
        with memory.opened("linode") as state:
            made = state.setdefault("made", {})
            label = given.get("label")
            if any(label and other["type"] == resource.type and other["label"] == label for other in made.values()):
                raise ValueError(f"[400] [label] Label must be unique: {label} exists already")
            firewall = given.get("firewallId")
            if resource.type == INSTANCE and given.get("interfaceGeneration") != "legacy_config":
                # As an account may choose for all new ones; nothing boots then without an interface resource.
                raise ValueError("[400] [firewall_id] is of the interfaces, with interface_generation linode")
            if firewall is not None and str(firewall) not in made:
                raise ValueError("[400] [firewall_id] Not found")
            if resource.type == DEVICE:
                label = attach(made, str(given["entityId"]), str(firewall))
            state["last"] = state.get("last", 46000000) + 1
            id_ = str(state["last"])
            made[id_] = {"type": resource.type, "label": label}
            if resource.type == INSTANCE:
                made[id_] |= {"firewall": firewall and str(firewall), "authorized_keys": given.get("authorizedKeys")}
        return id_, conceal({**computed(resource.type), **inputs}, inputs)

    def read(self, resource: Resource, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        with memory.opened("linode") as state:
            its = state.get("made", {}).get(resource.id)
            if its is None:
                return None
            seen = computed(resource.type)
            if its.get("private"):  # by hand
                seen["ipv4s"] = [PRIVATE_ADDRESS, *seen["ipv4s"]]
        return inputs, {**outputs, **seen, **inputs}

    def update(
        self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties, preview: bool
    ) -> Properties:
        if not preview:
            with memory.opened("linode") as state:
                state["made"][resource.id]["label"] = reveal(news.get("label"))
        return conceal({**{key: outputs.get(key) for key in COMPUTED[resource.type]}, **news}, news)

    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None:
        with memory.opened("linode") as state:
            forget(state.get("made", {}), resource.id)


def attach(made: dict[str, Any], entity: str, firewall: str) -> str:
    if made.get(entity, {}).get("type") != INSTANCE:
        raise ValueError("[400] [id] Not found")
    if made[entity]["firewall"]:
        raise ValueError("[400] A service can have one assigned firewall at a time")
    made[entity]["firewall"] = firewall
    return f"{entity} behind {firewall}"


def forget(made: dict[str, Any], id_: str) -> None:
    """Delete it, also as somebody's hand would: what was behind a firewall is open."""
    its = made.pop(id_, {})
    for other, of in made.items():
        if of.get("firewall") == id_ or its.get("label") == f"{other} behind {of.get('firewall')}":
            of["firewall"] = None


def computed(type_: str) -> dict[str, Any]:
    address = memory.setting("HOST", "127.0.0.1")
    times = {"created": "2023-01-01T00:00:00", "updated": "2023-01-01T00:00:00"}
    if type_ != INSTANCE:
        return times if type_ == DEVICE else {"status": "enabled", "devices": [], **times}
    return {
        "ipAddress": address,
        "ipv4s": [address],
        "ipv6": "2001:db8::1/128",
        "privateIpAddress": "",
        "status": "running",
        "specs": [{"disk": 20480, "memory": 24576, "vcpus": 2, "transfer": 5000}],
        "backups": [{"available": False, "enabled": False, "schedules": []}],
        "hostUuid": "pretend",
    }
