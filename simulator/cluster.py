"""A pretend Kubernetes cluster: it keeps objects and releases, and gives out addresses as Cilium would.

They live in kubernetes.json (see `memory`); a fault's KEY is KIND/NAMESPACE/NAME, for a release
Release/NAMESPACE/NAME. A hanging object never gets ready, a lost one is gone when next looked at, and a failing
"Cluster" is one that does not answer.
"""

import base64
import copy
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from simulator import memory
from standin.serve import Properties

CREATED = "2023-01-01T00:00:00Z"
CLUSTER_WIDE = ("Namespace", "Node", "CustomResourceDefinition")
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
"""Those that are always there."""
SERVED = {"cilium.io/v2alpha1": ((1, 16), (1, 20)), "cilium.io/v2": ((1, 18), None)}
"""API version of the BGP kinds and the pool, to the oldest and newest Cilium whose operator registers it."""


class ClusterError(Exception):
    """What the API server or Helm said."""


def certificate(authority: str) -> str:
    """What stands for a cluster's certificates in its kubeconfig."""
    return base64.b64encode(f"simulated {authority}".encode()).decode()


@contextmanager
def opened() -> Iterator[Properties]:
    """Its objects and releases, by their keys; at first as k3s leaves it."""
    if reason := memory.faults("fail").get("Cluster"):
        raise ClusterError(f"configured Kubernetes cluster is unreachable: {reason}")
    with memory.opened("kubernetes") as state:
        if not state:
            state |= {"objects": {}, "releases": {}}
            keep(state["objects"], service("traefik", {"web": 80, "websecure": 443}))
        for key in memory.faults("lose"):
            state["objects"].pop(key, None)
        yield state


def get(manifest: Properties) -> Properties | None:
    """The object of that kind, namespace and name as it is now; None too where its API version is not served."""
    with opened() as state:
        if not served(state, manifest):
            return None
        found: Properties | None = copy.deepcopy(state["objects"].get(key_of(manifest)))
        return found


def apply(manifest: Properties, *, create: bool = False, dry_run: bool = False) -> Properties:
    """The object as the API server then shows it; with `create` it must not be there."""
    key, (namespace, _) = key_of(manifest), identity(manifest)
    fail(key)
    with opened() as state:
        if not served(state, manifest):
            kind, version = manifest["kind"], manifest["apiVersion"]
            raise ClusterError(f'no matches for kind "{kind}" in version "{version}"')
        if namespace and namespace not in NAMESPACES and f"Namespace//{namespace}" not in state["objects"]:
            raise ClusterError(f'namespaces "{namespace}" not found')
        if create and key in state["objects"]:
            name = manifest["metadata"]["name"]
            raise ClusterError(f'{manifest["kind"].lower()}s "{name}" already exists')
        made = keep(copy.deepcopy(state["objects"]) if dry_run else state["objects"], manifest)
        if not dry_run:
            settle(state)
        return copy.deepcopy(made)


def delete(manifest: Properties) -> None:
    """The object goes, by whichever of its API versions it is named; a namespace with all that is in it."""
    fail(key_of(manifest))
    with opened() as state:
        state["objects"].pop(key_of(manifest), None)
        if manifest["kind"] == "Namespace":
            within = f"/{manifest['metadata']['name']}/"
            state["objects"] = {key: its for key, its in state["objects"].items() if within not in key}
        if manifest["kind"] == "CiliumLoadBalancerIPPool":  # takes back what it gave
            for balancer in balancers(state["objects"]):
                balancer.pop("status", None)
            settle(state)


def release(namespace: str, name: str) -> Properties | None:
    """The newest revision as Helm stores it."""
    with opened() as state:
        found: Properties | None = copy.deepcopy(state["releases"].get(f"{namespace}/{name}"))
        return found


def deploy(wanted: Properties, *, install: bool) -> None:
    """Install or upgrade a release; one that hangs is stored as failed, and is an error."""
    key = f"{wanted['namespace']}/{wanted['name']}"
    fail(f"Release/{key}")
    hangs = f"Release/{key}" in memory.faults("hang")
    with opened() as state:
        stored = state["releases"].get(key)
        if install and stored:
            raise ClusterError("cannot re-use a name that is still in use")
        if not install and not stored:
            raise ClusterError(f'"{wanted["name"]}" has no deployed releases')
        if stored and stored["info"]["status"].startswith("pending"):
            raise ClusterError("another operation (install/upgrade/rollback) is in progress")
        state["releases"][key] = {
            "name": wanted["name"],
            "namespace": wanted["namespace"],
            "version": stored["version"] + 1 if stored else 1,
            "info": {"status": "failed" if hangs else "deployed"},
            "chart": {"metadata": chart(wanted)},
            "config": wanted.get("values") or {},
        }
        for brought in services(wanted):
            keep(state["objects"], brought)
        settle(state)
    if hangs:
        raise ClusterError("context deadline exceeded")


def served(state: Properties, manifest: Properties) -> bool:
    """Whether the API server knows that kind in that version."""
    version = manifest["apiVersion"]
    return version not in SERVED or version in state.get("served", [])


def register(state: Properties) -> None:
    """What Cilium's operator does some time after the release: the kinds are served in its versions. They stay when
    it goes, and Established while it changes."""
    its = state["releases"].get("kube-system/cilium")
    if its and its["info"]["status"] == "deployed" and its["config"].get("bgpControlPlane", {}).get("enabled"):
        major, minor = map(int, its["chart"]["metadata"]["version"].split(".")[:2])
        state["served"] = [
            version
            for version, (oldest, newest) in SERVED.items()
            if oldest <= (major, minor) and (newest is None or (major, minor) <= newest)
        ]


def chart(wanted: Properties) -> Properties:
    """The chart's metadata."""
    version = wanted.get("version") or "0.0.0"
    return {"name": wanted["chart"].rstrip("/").split("/")[-1], "version": version, "appVersion": version}


def namespaced(manifest: Properties) -> bool:
    kind = str(manifest.get("kind"))
    return kind not in CLUSTER_WIDE and not kind.startswith(("Cluster", "Cilium"))


def identity(manifest: Properties) -> tuple[str, str]:
    meta = manifest["metadata"]
    return meta.get("namespace") or ("default" if namespaced(manifest) else ""), meta["name"]


def key_of(manifest: Properties) -> str:
    return "/".join((manifest["kind"], *identity(manifest)))


def fail(key: str) -> None:
    if message := memory.faults("fail").get(key):
        raise ClusterError(message)


def service(name: str, ports: dict[str, int], kind: str = "LoadBalancer") -> Properties:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "kube-system", "name": name},
        "spec": {"type": kind, "ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports.items()]},
    }


def services(wanted: Properties) -> Iterator[Properties]:
    """The Services of Cilium's chart that these values switch on."""
    hubble = (wanted.get("values") or {}).get("hubble") or {}
    if chart(wanted)["name"].startswith("cilium"):
        for part, ports in (("relay", {"relay": 80}), ("ui", {"http": 80})):
            values = hubble.get(part) or {}
            if values.get("enabled"):
                yield service(f"hubble-{part}", ports, (values.get("service") or {}).get("type", "ClusterIP"))


def keep(objects: dict[str, Any], manifest: Properties) -> Properties:
    """Store the object as an API server would show it, ready at once unless it is told to hang."""
    key, (namespace, name) = key_of(manifest), identity(manifest)
    old = objects.get(key)
    live: Properties = copy.deepcopy(manifest)
    live["metadata"] |= {"name": name, "uid": f"pretend-{key}", "creationTimestamp": CREATED}
    if namespace:
        live["metadata"]["namespace"] = namespace
    generation = old["metadata"]["generation"] + (old.get("spec") != live.get("spec")) if old else 1
    live["metadata"] |= {"generation": generation, "resourceVersion": str(len(objects) + generation)}
    if old and "status" in old:
        live["status"] = old["status"]
    if manifest["kind"] == "Deployment" and key not in memory.faults("hang"):
        replicas = live["spec"].get("replicas", 1)
        live["status"] = {
            "observedGeneration": generation,
            **dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), replicas),
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            ],
        }
    objects[key] = live
    return live


def settle(state: dict[str, Any]) -> None:
    """Give each LoadBalancer Service the next free address of the pool, once Cilium runs, in order of creation."""
    objects = state["objects"]
    if not any(r["info"]["status"] == "deployed" for r in state.get("releases", {}).values()):
        return
    balanced = balancers(objects)
    addresses = list(pool(objects))
    for balancer in balanced:
        # A pool that moved takes its addresses along; no pool at all may be one that is just being replaced.
        if addresses and not set(ips(balancer)) <= set(addresses):
            balancer.pop("status", None)
    taken = {ip for balancer in balanced for ip in ips(balancer)}
    free = (address for address in addresses if address not in taken)
    for balancer in balanced:
        if (
            key_of(balancer) not in memory.faults("hang")
            and not balancer.get("status")
            and (address := next(free, None))
        ):
            balancer["status"] = {"loadBalancer": {"ingress": [{"ip": address}]}}


def balancers(objects: dict[str, Any]) -> list[Properties]:
    return [its for its in objects.values() if its["kind"] == "Service" and its["spec"].get("type") == "LoadBalancer"]


def ips(balancer: Properties) -> list[str]:
    return [ingress["ip"] for ingress in balancer.get("status", {}).get("loadBalancer", {}).get("ingress", [])]


def pool(objects: dict[str, Any]) -> Iterator[str]:
    """Addresses from ConfigMap kube-system/bgp-config, then from CiliumLoadBalancerIPPool objects."""
    blocks: list[str] = []
    if configured := objects.get("ConfigMap/kube-system/bgp-config"):
        for entry in (yaml.safe_load(configured["data"]["config.yaml"]) or {}).get("address-pools") or []:
            blocks += entry["addresses"]
    for item in objects.values():
        if item["kind"] == "CiliumLoadBalancerIPPool":
            listed = item["spec"].get("blocks") or item["spec"].get("cidrs") or []
            blocks += [block.get("cidr") or f"{block['start']}-{block.get('stop', block['start'])}" for block in listed]
    for block in blocks:
        first, _, last = block.partition("-")
        if last:
            start, stop = ipaddress.IPv4Address(first.strip()), ipaddress.IPv4Address(last.strip())
            yield from (str(ipaddress.IPv4Address(n)) for n in range(int(start), int(stop) + 1))
        else:
            yield from (str(address) for address in ipaddress.IPv4Network(block))


def workloads_of(release: Properties | None) -> dict[str, int]:
    """What Cilium's chart runs, and on how many nodes each needs one to itself."""
    if release is None:
        return {}
    values, version = release["config"], release["chart"]["metadata"]["version"]
    hubble, operator = values.get("hubble", {}), values.get("operator", {})
    runs = {"daemonset/cilium": 0, "deployment/cilium-operator": operator.get("replicas", 2)}
    runs |= {f"deployment/hubble-{part}": 0 for part in ("relay", "ui") if hubble.get(part, {}).get("enabled")}
    envoy = values.get("envoy", {}).get("enabled")
    if values.get("l7Proxy", True) and (version >= "1.16" if envoy is None else envoy):
        runs["daemonset/cilium-envoy"] = 0
    return runs


def cilium(state: Properties) -> Properties | None:
    """The release, if it is deployed."""
    found: Properties | None = state.get("releases", {}).get("kube-system/cilium")
    return found if found and found["info"]["status"] == "deployed" else None
