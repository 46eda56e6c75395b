"""k3s on the pretend nodes: who starts a cluster, who joins it, and what it refuses, from its config.yaml."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator import memory
from simulator.cluster import cilium
from simulator.lxd_api import LxdApi

Json = dict[str, Any]


@dataclass(frozen=True)
class Node:
    """A running instance."""

    id: str
    """Its volatile.uuid: another one when it is made anew."""
    name: str
    address: str
    user: str
    """Whom its image lets in."""


def nodes(lxd: LxdApi) -> dict[str, Node]:
    """Running instances with a fixed address, by that address."""
    found = {}
    for (kind, _, name), entity in list(lxd.entities.items()):
        if kind == "instances" and entity["status"] == "Running":
            for device in entity["devices"].values():
                if address := device.get("ipv4.address"):
                    config = entity["config"]
                    found[address] = Node(config["volatile.uuid"], name, address, config["image.os"])
    return found


def not_active(lxd: LxdApi, node: Node, config: Json) -> str:
    """Start k3s with this config.yaml, as far as it comes: why it is not active, nothing if it is."""
    if f"{node.name}/unit" in memory.faults("hang"):
        return "activating"
    with memory.opened("host") as state:
        its = state["nodes"][node.id]
        secret, authority = split_token(config["token"])
        cluster = state.get("cluster")
        if its["role"] == "agent" or not its.get("datastore"):
            if its["role"] == "server" and "server" not in config:
                return start(node, state, config, secret)
            if not cluster or not reaches(lxd, state, config["server"]) or not quorum(state):
                return "activating: failed to get CA certs: connection refused"
            if authority not in ("", cluster["ca"]):
                return "activating: token CA hash does not match the Cluster CA certificate hash"
            # k3s asks as the user of the role, whatever the token says.
            if secret != cluster["token" if its["role"] == "server" else "agent-token"]:
                return "activating: not authorized"
            if cluster["members"].get(node.name, node.id) != node.id:
                return "activating: duplicate node name found, please use a unique name for this node"
            if cluster["nodes"].get(node.name, its)["password"] != its["password"]:
                return "activating: Node password rejected, duplicate hostname"
        elif not cluster or cluster["ca"] != its["datastore"] or cluster["members"].get(node.name) != node.id:
            return "activating: this server is a not a member of the etcd cluster"
        elif secret != cluster["token"]:
            return "activating: bootstrap data already found and encrypted with different token"
        elif not quorum(state):
            return "activating: etcdserver: no leader"
        if its["role"] == "server":
            if any(config[key] != cluster[key] for key in ("cluster-cidr", "service-cidr")):
                return "activating: critical configuration value mismatch between servers"
            its["datastore"] = cluster["ca"]
            cluster["members"][node.name] = node.id
            cluster["agent-token"] = config["agent-token"]
        known(cluster, node, its)
        state["left"] = [id_ for id_ in state.get("left", []) if id_ != node.id]
    return ""


def start(node: Node, state: Json, config: Json, secret: str) -> str:
    """A server with an empty datastore that names no other starts a cluster, whatever the others do."""
    its = state["nodes"][node.id]
    kept = state.get("snapshots", {}).get(config.get("cluster-reset-restore-path"), {})
    if kept and kept["token"] != secret:
        return "activating: bootstrap data already found and encrypted with different token"
    with memory.opened("kubernetes") as objects:
        spoke = cilium(objects) is not None
        objects.clear()  # of a former cluster
        objects.update(kept.get("objects", {}))
    state["left"] = [id_ for id_ in members(state).values() if id_ != node.id and spoke]
    its["datastore"] = kept.get("ca") or secrets.token_hex(32)
    state["cluster"] = {key: config[key] for key in ("cluster-cidr", "service-cidr", "agent-token")} | {
        "ca": its["datastore"],
        "token": secret,
        "members": {node.name: node.id},
        "nodes": {},
    }
    known(state["cluster"], node, its)
    return ""


def reaches(lxd: LxdApi, state: Json, url: str) -> bool:
    """Whether a server answers at this URL: directly, or by the host's endpoint."""
    address, _, port = url.removeprefix("https://").partition(":")
    endpoint = state.get("endpoint", {})
    if (address, port) == (endpoint.get("gateway"), endpoint.get("port")):
        return any(serves(lxd, state, name) for name in endpoint["servers"])
    there = nodes(lxd).get(address)
    return port == "6443" and there is not None and serves(lxd, state, there.name)


def serves(lxd: LxdApi, state: Json, name: str) -> bool:
    """Whether the API of the server of that name answers."""
    cluster = state.get("cluster", {"members": {}})
    present = {node.name: node.id for node in nodes(lxd).values()}
    runs = f"{name}/unit" not in memory.faults("hang")
    return runs and present.get(name, "") == cluster["members"].get(name) and quorum(state)


def split_token(token: str) -> tuple[str, str]:
    """Secret and hash of the authority ("": none) of a join token, K10HASH::USER:SECRET or SECRET."""
    if not token.startswith("K10"):
        return token, ""
    authority, _, credentials = token.removeprefix("K10").partition("::")
    return credentials.partition(":")[2], authority


def quorum(state: Mapping[str, Any]) -> bool:
    """Whether etcd has a majority: most members' instances are there."""
    its = state.get("cluster", {}).get("members", {})
    alive = [id_ for id_ in its.values() if id_ in state.get("nodes", {})]
    return 2 * len(alive) > len(its)


def known(cluster: Json, node: Node, its: Json) -> None:
    """Let the cluster know this node; a new one gets a range for its pods, never one that another has had."""
    if cluster["nodes"].get(node.name, {}).get("id") != node.id:
        its["pods"] = f"10.42.{cluster.setdefault('ranges', 0)}.0/24"
        cluster["ranges"] += 1
    cluster["nodes"][node.name] = {"id": node.id, "password": its["password"]}


def members(state: Mapping[str, Any]) -> dict[str, str]:
    """Instance of each node of the cluster that is there, by its name there."""
    hanging = memory.faults("hang")
    return {
        name: its["id"]
        for name, its in state.get("cluster", {}).get("nodes", {}).items()
        if its["id"] in state.get("nodes", {}) and f"{name}/join" not in hanging
    }
