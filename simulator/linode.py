"""The linode provider of a pretend cloud: it remembers instances and firewalls, and makes no machine.

SIMULATOR_HOST is the address of every instance (default 127.0.0.1: the pretend host listens there),
SIMULATOR_STATE the folder of linode.json.
"""

from typing import Any

from simulator import memory
from standin.serve import UNKNOWN, Diff, Properties, Provider, Resource, changes, conceal, reveal

INSTANCE, FIREWALL = "linode:index/instance:Instance", "linode:index/firewall:Firewall"
# What only a new machine can have; everything else the API changes in place.
REPLACED_BY = {
    INSTANCE: {
        "image",
        "authorizedKeys",
        "authorizedUsers",
        "rootPass",
        "stackscriptId",
        "stackscriptData",
        "metadatas",
    },
    FIREWALL: set[str](),
}
COMPUTED = {
    INSTANCE: ("ipAddress", "ipv4s", "ipv6", "privateIpAddress", "status", "specs", "backups", "hostUuid"),
    FIREWALL: ("status", "devices", "created", "updated"),
}


class Linode(Provider):
    package = "linode"

    def diff(self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties) -> Diff:
        found = {path: change for path, change in changes(old_inputs, news).items() if not path.startswith("__")}
        rules = REPLACED_BY[resource.type]
        return Diff(found, frozenset(path for path in found if path.split("[")[0].split(".")[0] in rules))

    def create(self, resource: Resource, inputs: Properties, preview: bool) -> tuple[str, Properties]:
        if resource.type not in COMPUTED:
            raise ValueError(f"{resource.type}: only {INSTANCE} and {FIREWALL} are simulated")
        if preview:
            return "", {**dict.fromkeys(COMPUTED[resource.type], UNKNOWN), **inputs}
        with memory.opened("linode") as state:
            made = state.setdefault("made", {})
            label = reveal(inputs.get("label"))
            if any(label and other["type"] == resource.type and other["label"] == label for other in made.values()):
                raise ValueError(f"[400] [label] Label must be unique: {label} exists already")
            state["last"] = state.get("last", 46000000) + 1
            id_ = str(state["last"])
            made[id_] = {"type": resource.type, "label": label}
        return id_, conceal({**computed(resource.type), **inputs}, inputs)

    def read(self, resource: Resource, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        with memory.opened("linode") as state:
            gone = resource.id not in state.get("made", {})
        return None if gone else (inputs, {**outputs, **computed(resource.type), **inputs})

    def update(
        self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties, preview: bool
    ) -> Properties:
        if not preview:
            with memory.opened("linode") as state:
                state["made"][resource.id]["label"] = reveal(news.get("label"))
        return conceal({**{key: outputs.get(key) for key in COMPUTED[resource.type]}, **news}, news)

    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None:
        with memory.opened("linode") as state:
            state.get("made", {}).pop(resource.id, None)


def computed(type_: str) -> dict[str, Any]:
    address = memory.setting("HOST", "127.0.0.1")
    if type_ == FIREWALL:
        return {"status": "enabled", "devices": [], "created": "2023-01-01T00:00:00", "updated": "2023-01-01T00:00:00"}
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
