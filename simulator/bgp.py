"""What the pretend host's router has learned: a session stands where both sides' configurations agree."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Json = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One side of the sessions as it is configured."""

    asn: int
    peer_asn: int
    router: str
    """Address of the router."""
    password: str


@dataclass(frozen=True)
class Router:
    side: Side
    neighbors: frozenset[str]
    accepted: frozenset[tuple[str, ipaddress.IPv4Network, int, int]]
    """Neighbor, prefix, and the shortest and longest length of what is accepted from it in that prefix."""

    def accepts(self, neighbor: str, route: str) -> bool:
        network = ipaddress.IPv4Network(route)
        return any(
            name == neighbor and network.subnet_of(prefix) and low <= network.prefixlen <= high
            for name, prefix, low, high in self.accepted
        )


def router(conf: str) -> Router | None:
    """The router that this frr.conf makes of FRR; None if it runs no BGP."""

    def first(pattern: str) -> str:
        found = re.search(pattern, conf, re.MULTILINE)
        return found[1] if found else ""

    if not (asn := first(r"^router bgp (\d+)")):
        return None
    entry = r"^ip prefix-list (\S+) seq \d+ permit (\S+)(?: ge (\d+))?(?: le (\d+))?"
    lists = [
        (name, ipaddress.IPv4Network(p), low, high) for name, p, low, high in re.findall(entry, conf, re.MULTILINE)
    ]
    maps = dict(re.findall(r"^route-map (\S+) permit \d+\n match ip address prefix-list (\S+)", conf, re.MULTILINE))
    incoming = re.findall(r"^  neighbor (\S+) route-map (\S+) in", conf, re.MULTILINE)
    return Router(
        Side(
            int(asn),
            int(first(r"^ neighbor NODES remote-as (\d+)") or 0),
            first(r"^ bgp router-id (\S+)"),
            first(r"^ neighbor NODES password (\S+)"),
        ),
        frozenset(re.findall(r"^ neighbor (\S+) peer-group NODES", conf, re.MULTILINE)),
        frozenset(
            (neighbor, p, int(low or p.prefixlen), int(high or (low and 32) or p.prefixlen))
            for neighbor, map_ in incoming
            for name, p, low, high in lists
            if name == maps.get(map_)
        ),
    )


def told(conf: str, routes: set[str]) -> dict[str, list[str]]:
    """By the address of each upstream: what it is told of these routes, by the prefix-list of its route-map."""
    names = dict(re.findall(r"^ neighbor (\S+) description (\S+)", conf, re.MULTILINE))
    lists = dict(re.findall(r"^ip prefix-list UPSTREAM-(\S+) seq 10 permit (.+)$", conf, re.MULTILINE))
    whole = set(re.findall(r"^  aggregate-address (\S+)", conf, re.MULTILINE)) if routes else set()
    pools = {name: its.partition(" ")[0] for name, its in lists.items()}
    return {
        address: sorted(
            route
            for route in routes | whole
            if (ipaddress.IPv4Network(route).prefixlen == 32 if "ge 32" in lists[name] else route == pools[name])
            if ipaddress.IPv4Network(route).subnet_of(ipaddress.IPv4Network(pools[name]))
        )
        for address, name in names.items()
    }


def nodes_side(objects: Mapping[str, Json], values: Mapping[str, Any]) -> Side | None:
    """What the agents are told, as the release's values say by bgp-config or by the control plane's kinds; None where
    it is not complete."""
    if values.get("bgp", {}).get("enabled"):
        config_map = objects.get("ConfigMap/kube-system/bgp-config")
        if config_map is None:
            return None
        peer = yaml.safe_load(config_map["data"]["config.yaml"])["peers"][0]
        return Side(peer["my-asn"], peer["peer-asn"], peer["peer-address"], peer.get("password", ""))
    if not values.get("bgpControlPlane", {}).get("enabled"):
        return None
    kinds = {item["kind"]: item for item in objects.values() if item["kind"].startswith("CiliumBGP")}
    if kinds.keys() != {"CiliumBGPClusterConfig", "CiliumBGPPeerConfig", "CiliumBGPAdvertisement"}:
        return None
    instance = kinds["CiliumBGPClusterConfig"]["spec"]["bgpInstances"][0]
    peer = instance["peers"][0]
    auth = kinds["CiliumBGPPeerConfig"]["spec"].get("authSecretRef")
    secret = objects.get(f"Secret/kube-system/{auth}", {}).get("stringData", {})
    return Side(instance["localASN"], peer["peerASN"], peer["peerAddress"], secret.get("password", ""))


def sessions(
    conf: str, objects: Mapping[str, Json], values: Mapping[str, Any], nodes: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Prefixes learned by session: its keys are the addresses, among those of `nodes`, whose session stands.

    `values` are those of Cilium's release; `nodes` has the address of each node on which an agent runs and the ranges
    of its pods, where those are announced.
    """
    its, theirs = router(conf), nodes_side(objects, values)
    if not its or not theirs:
        return {}
    if its.side != Side(theirs.peer_asn, theirs.asn, theirs.router, theirs.password):
        return {}
    services = [f"{address}/32" for address in announced(objects)]
    return {
        address: [route for route in (*services, *pods) if its.accepts(address, route)]
        for address, pods in nodes.items()
        if address in its.neighbors
    }


def announces_pods(values: Json, objects: Mapping[str, Json]) -> bool:
    """Whether the agents tell the ranges of their pods: by the chart's values, or by an advertisement."""
    advertised = (
        its["advertisementType"]
        for item in objects.values()
        if item["kind"] == "CiliumBGPAdvertisement"
        for its in item["spec"]["advertisements"]
    )
    return bool(values.get("bgp", {}).get("announce", {}).get("podCIDR")) or "PodCIDR" in advertised


def announced(objects: Mapping[str, Json]) -> Iterator[str]:
    """Addresses of the LoadBalancer Services that have a ready endpoint."""
    for item in objects.values():
        if item["kind"] == "Service" and item["spec"].get("type") == "LoadBalancer" and has_endpoint(item, objects):
            for ingress in item.get("status", {}).get("loadBalancer", {}).get("ingress", []):
                yield ingress["ip"]


def has_endpoint(service: Json, objects: Mapping[str, Json]) -> bool:
    """Whether a Deployment's pods answer it; what k3s and Cilium's chart bring along, without a selector here, does."""
    selector = service["spec"].get("selector")
    return not selector or any(
        item["kind"] == "Deployment"
        and selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        and item.get("status", {}).get("readyReplicas", 0) > 0
        for item in objects.values()
    )
