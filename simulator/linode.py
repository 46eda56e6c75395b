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
        "linodeInterfaces",
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
            if any(label and other["type"] == resource.type and other.get("label") == label for other in made.values()):
                raise ValueError(f"[400] [label] Label must be unique: {label} exists already")
            its: dict[str, Any] = {"label": label, "inbounds": given.get("inbounds")}
            if resource.type == INSTANCE:
                its = instance(state, given)
            elif resource.type == DEVICE:
                its = device(made, str(given["firewallId"]), given.get("entityType", "linode"), str(given["entityId"]))
            id_ = added(state, {"type": resource.type, **its})
            if resource.type == INSTANCE:
                kind, entity = ("linode_interface", its["interface"]) if its["interface"] else ("linode", id_)
                for firewall in filter(None, its.pop("firewalls")):
                    added(state, {"type": DEVICE, **device(made, firewall, kind, entity)})
        return id_, conceal({**computed(resource.type), **inputs}, inputs)

    def read(self, resource: Resource, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        its = memory.read("linode").get("made", {}).get(resource.id)
        if its is None:
            return None
        seen = computed(resource.type)
        if its.get("private"):  # by hand
            seen["ipv4s"] = [PRIVATE_ADDRESS, *seen["ipv4s"]]
        if resource.type == FIREWALL:
            inputs = {**inputs, "inbounds": its["inbounds"]}
        return inputs, {**outputs, **seen, **inputs}

    def update(
        self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties, preview: bool
    ) -> Properties:
        if not preview:
            with memory.opened("linode") as state:
                its = state["made"][resource.id]
                its["label"] = reveal(news.get("label"))
                if resource.type == FIREWALL:
                    its["inbounds"] = reveal(news.get("inbounds"))
        return conceal({**{key: outputs.get(key) for key in COMPUTED[resource.type]}, **news}, news)

    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None:
        with memory.opened("linode") as state:
            forget(state.get("made", {}), resource.id)

    def invoke(self, function: str, arguments: Properties) -> Properties:
        if function != "linode:index/getFirewalls:getFirewalls":
            return super().invoke(function, arguments)
        ((wanted,),) = (its["values"] for its in arguments["filters"])
        made = memory.read("linode").get("made", {})
        found = [wanted] if wanted in made else []
        devices = [described(made, id_) for id_, its in made.items() if its.get("firewall") == wanted]
        return {"firewalls": [{"id": int(id_), "label": made[id_]["label"], "devices": devices} for id_ in found]}


def added(state: dict[str, Any], its: dict[str, Any]) -> str:
    state["last"] = state.get("last", 46000000) + 1
    id_ = str(state["last"])
    state["made"][id_] = its
    return id_


def instance(state: dict[str, Any], given: Properties) -> dict[str, Any]:
    """A Linode that the API would make. `account` in the state is the account's setting interfaces_for_new_linodes."""
    allowed = state.get("account", "linode_default_but_legacy_config_allowed")
    generation = given.get("interfaceGeneration") or ("linode" if allowed.startswith("linode") else "legacy_config")
    if allowed == f"{'legacy_config' if generation == 'linode' else 'linode'}_only":
        raise ValueError(f"[400] [interface_generation] {generation} interfaces: the account is {allowed}")
    interfaces = given.get("linodeInterfaces") or []
    if generation == "linode" and given.get("firewallId"):
        # The API's words, of its firewalls' endpoint.
        raise ValueError(
            "[400] Linode is using Linode Interfaces. Please apply Cloud Firewall to the interfaces of the Linode "
            "instead of directly to the Linode."
        )
    if generation == "linode" and given.get("booted") and not interfaces:
        raise ValueError("[400] The Linode must have at least 1 interface defined to boot")
    if interfaces and generation != "linode":
        raise ValueError("[400] [interfaces] are of the generation linode")
    firewalls = [given.get("firewallId"), *(each.get("firewallId") for each in interfaces)]
    if any(one is not None and state["made"].get(str(one), {}).get("type") != FIREWALL for one in firewalls):
        raise ValueError("[400] [firewall_id] Not found")
    state["last"] = state.get("last", 46000000) + len(interfaces)
    return {
        "label": given.get("label"),
        "interface": str(state["last"]) if interfaces else None,
        "firewalls": [str(one) for one in firewalls if one is not None],
        "authorized_keys": given.get("authorizedKeys"),
    }


def device(made: dict[str, Any], firewall: str, kind: str, entity: str) -> dict[str, Any]:
    """That entity behind that firewall, as the API would put it there."""
    owner = made.get(entity, {}) if kind == "linode" else {"interface": None}
    if owner.get("interface"):
        raise ValueError(
            "[400] Linode is using Linode Interfaces. Please apply Cloud Firewall to the interfaces of the Linode "
            "instead of directly to the Linode."
        )
    its = [id_ for id_, one in made.items() if entity in (id_, one.get("interface")) and one["type"] == INSTANCE]
    if not its or made.get(firewall, {}).get("type") != FIREWALL:
        raise ValueError("[400] [id] Not found")
    if any(one.get("entity") == entity for one in made.values()):
        raise ValueError("[400] A service can have one assigned firewall at a time")
    return {"firewall": firewall, "kind": kind, "entity": entity, "linode": its[0]}


def described(made: dict[str, Any], id_: str) -> dict[str, Any]:
    its = made[id_]
    url = f"/v4/linode/instances/{its['linode']}"
    if its["kind"] == "linode_interface":
        url += f"/interfaces/{its['entity']}"
    return {"id": int(id_), "type": its["kind"], "entityId": int(its["entity"]), "label": "of the VM", "url": url}


def forget(made: dict[str, Any], id_: str) -> None:
    """Delete it, also as somebody's hand would: what was behind a firewall is open."""
    made.pop(id_, None)
    for other in [other for other, its in made.items() if id_ in (its.get("firewall"), its.get("linode"))]:
        del made[other]


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
