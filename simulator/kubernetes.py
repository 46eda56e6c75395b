"""The kubernetes provider of a pretend cluster: it keeps objects, and gives out addresses as Cilium would.

Objects live in kubernetes.json (see `memory`); a fault's KEY is KIND/NAMESPACE/NAME, for a chart
Release/NAMESPACE/NAME. A hanging object never gets ready, a lost one is gone when next looked at.
"""

import copy
import ipaddress
from collections.abc import Iterator
from typing import Any

import yaml

from simulator import memory
from standin import kubernetes
from standin.serve import Properties

CREATED = "2023-01-01T00:00:00Z"


class PretendCluster:
    """Objects in a file. The Services that k3s and Cilium's chart bring come with them."""

    def reachable(self) -> None:
        if reason := memory.faults("fail").get("Cluster"):
            raise kubernetes.ClusterError(reason)

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Properties | None:
        with memory.opened("kubernetes") as state:
            start(state)
            key = f"{kind}/{namespace}/{name}"
            if key in memory.faults("lose"):
                state["objects"].pop(key, None)
            found: Properties | None = copy.deepcopy(state["objects"].get(key))
            return found

    def create(self, manifest: Properties, dry_run: bool) -> Properties:
        if self.get(manifest["apiVersion"], manifest["kind"], *identity(manifest)):
            name = manifest["metadata"]["name"]
            raise kubernetes.ClusterError(f'(AlreadyExists): {manifest["kind"].lower()}s "{name}" already exists')
        return self.apply(manifest, dry_run)

    def apply(self, manifest: Properties, dry_run: bool) -> Properties:
        fail(key_of(manifest))
        with memory.opened("kubernetes") as state:
            start(state)
            objects = state["objects"] if not dry_run else copy.deepcopy(state["objects"])
            made = keep(objects, manifest)
            if not dry_run:
                settle(state)
            return copy.deepcopy(made)

    def delete(self, manifest: Properties, propagation: str, seconds: float) -> None:
        fail(key_of(manifest))
        with memory.opened("kubernetes") as state:
            start(state)
            state["objects"].pop(key_of(manifest), None)

    def wait(self, manifest: Properties, condition: str, seconds: float) -> None:
        if key_of(manifest) in memory.faults("hang"):
            raise kubernetes.ClusterError(f"timed out waiting for the condition on {key_of(manifest)}")

    def chart(self, release: Properties) -> Properties:
        version = release.get("version") or "0.0.0"
        return {"name": release["chart"].rstrip("/").split("/")[-1], "version": version, "appVersion": version}

    def release(self, namespace: str, name: str) -> Properties | None:
        with memory.opened("kubernetes") as state:
            found: Properties | None = state.get("releases", {}).get(f"{namespace}/{name}")
            return found

    def install(self, release: Properties) -> None:
        if self.release(release["namespace"], release["name"]):
            raise kubernetes.ClusterError("cannot re-use a name that is still in use")
        self.deploy(release, 1)

    def upgrade(self, release: Properties) -> None:
        stored = self.release(release["namespace"], release["name"])
        if not stored:
            raise kubernetes.ClusterError(f'"{release["name"]}" has no deployed releases')
        if stored["info"]["status"].startswith("pending"):
            raise kubernetes.ClusterError("another operation (install/upgrade/rollback) is in progress")
        self.deploy(release, stored["version"] + 1)

    def deploy(self, release: Properties, revision: int) -> None:
        key = f"Release/{release['namespace']}/{release['name']}"
        fail(key)
        hangs = key in memory.faults("hang")
        with memory.opened("kubernetes") as state:
            start(state)
            state.setdefault("releases", {})[f"{release['namespace']}/{release['name']}"] = {
                "name": release["name"],
                "namespace": release["namespace"],
                "version": revision,
                "info": {"status": "failed" if hangs else "deployed"},
                "chart": {"metadata": self.chart(release)},
                "config": release.get("values") or {},
            }
            for service in services(release):
                keep(state["objects"], service)
            settle(state)
        if hangs:
            raise kubernetes.ClusterError("context deadline exceeded")

    def uninstall(self, release: Properties) -> None:
        with memory.opened("kubernetes") as state:
            if not state.get("releases", {}).pop(f"{release['namespace']}/{release['name']}", None):
                raise kubernetes.ClusterError(f"uninstall: Release not loaded: {release['name']}: release: not found")
            for service in services(release):
                state["objects"].pop(key_of(service), None)

    def close(self) -> None: ...


class PretendKubernetes(kubernetes.Kubernetes):
    poll_seconds = 0.1
    await_seconds = float(memory.setting("AWAIT_SECONDS", "600"))

    def cluster_of(self, config: Properties) -> kubernetes.Cluster:
        return PretendCluster()


def identity(manifest: Properties) -> tuple[str, str]:
    meta = manifest["metadata"]
    return meta.get("namespace") or ("default" if kubernetes.is_namespaced(manifest) else ""), meta["name"]


def key_of(manifest: Properties) -> str:
    return "/".join((manifest["kind"], *identity(manifest)))


def fail(key: str) -> None:
    if message := memory.faults("fail").get(key):
        raise kubernetes.ClusterError(message)


def start(state: dict[str, Any]) -> None:
    """The cluster as k3s leaves it."""
    if "objects" not in state:
        state["objects"] = {}
        keep(state["objects"], service("traefik", {"web": 80, "websecure": 443}))


def service(name: str, ports: dict[str, int], kind: str = "LoadBalancer") -> Properties:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "kube-system", "name": name},
        "spec": {"type": kind, "ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports.items()]},
    }


def services(release: Properties) -> Iterator[Properties]:
    """The Services of Cilium's chart that these values switch on."""
    hubble = (release.get("values") or {}).get("hubble") or {}
    if release["chart"].rstrip("/").split("/")[-1].startswith("cilium"):
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
    balanced = [o for o in objects.values() if o["kind"] == "Service" and o["spec"].get("type") == "LoadBalancer"]
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
