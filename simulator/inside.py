"""LXD's API as status.py, on the pretend host itself, uses it: which instances there are, and what they answer.

Faults (see `memory`): failing "lxd" does not answer. A hanging NODE/unit does not run k3s, a hanging NODE/agent has no
agent of Cilium's that is ready, a hanging NODE/join is unknown to the cluster.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator import memory
from simulator.bgp import has_endpoint
from simulator.cluster import balancers, settle
from simulator.k3s import serves
from simulator.lxd_api import LxdApi

Json = dict[str, Any]


@dataclass(frozen=True)
class Inside:
    """In place of on_server.py's Lxd."""

    lxd: LxdApi

    def close(self) -> None:
        """There is no connection."""

    def instances(self) -> Json:
        if message := memory.faults("fail").get("lxd"):
            raise OSError(message)
        return {
            device["ipv4.address"]: {
                "name": name,
                "project": project,
                "status": its["status"],
                "id": its["config"].get("volatile.uuid"),
            }
            for (kind, project, name), its in list(self.lxd.entities.items())
            if kind == "instances"
            for device in its["devices"].values()
            if "ipv4.address" in device
        }

    def execute(self, instance: Json, command: list[str]) -> tuple[int, str, str]:
        state = memory.read("host")
        its = state["nodes"].get(instance["id"], {})
        match command:
            case ["sh", "-c", _]:
                unit = {"server": "k3s", "agent": "k3s-agent"}.get(its.get("role", ""))
                return 0, f"{unit} {self.state(instance['name'])}" if unit else "", ""
            case ["test", "-d", _]:
                return int(not its.get("datastore")), "", ""
            case _ if not serves(self.lxd, state, instance["name"]):
                return 1, "", "The connection to the server 127.0.0.1:6443 was refused"
            case [*_, "--raw", "/readyz", _]:
                return 0, "ok", ""
        return 0, json.dumps({"items": list(self.objects())}), ""

    def state(self, name: str) -> str:
        return "failed" if f"{name}/unit" in memory.faults("hang") else "active"

    def objects(self) -> Iterator[Json]:
        """What kubectl lists, as far as status.py reads it."""
        with memory.opened("host") as state, memory.opened("kubernetes") as kept:
            settle(kept)
            members, versions = state["cluster"]["nodes"], state["nodes"]
            release, objects = kept.get("releases", {}).get("kube-system/cilium"), kept.get("objects", {})
        hanging = memory.faults("hang")
        for name, its in members.items():
            if f"{name}/join" not in hanging:
                ready, said = True, "kubelet is posting ready status"
                if self.state(name) != "active" or its["id"] not in versions:
                    ready, said = False, "Kubelet stopped posting node status."
                elif not release:
                    ready, said = False, "container runtime network not ready: cni plugin not initialized"
                told = {"type": "Ready", "status": str(ready), "message": said}
                info = {"kubeletVersion": versions.get(its["id"], {}).get("version", "")}
                yield named("Node", "", name) | {"spec": {}, "status": {"conditions": [told], "nodeInfo": info}}
            if release and its["id"] in versions:
                runs = not {f"{name}/agent", "daemonset/cilium"} & set(hanging)
                image = f"quay.io/cilium/cilium:v{release['chart']['metadata']['version']}"
                state = {"running": {}} if runs else {"waiting": {"reason": "CrashLoopBackOff"}}
                pod = named("Pod", "kube-system", f"cilium-{name}", {"k8s-app": "cilium"})
                spec = {"nodeName": name, "containers": [{"name": "cilium-agent", "image": image}]}
                yield pod | {"spec": spec, "status": {"containerStatuses": [{"ready": runs, "state": state}]}}
        if release:
            available = 0 if "deployment/cilium-operator" in hanging else 1
            operator = named("Deployment", "kube-system", "cilium-operator")
            yield operator | {"status": {"availableReplicas": available} if available else {}}
        for service in balancers(objects):
            namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
            yield {"status": {}, **service}
            slice_ = named("EndpointSlice", namespace, f"{name}-1", {"kubernetes.io/service-name": name})
            yield slice_ | {"endpoints": [{"conditions": {"ready": has_endpoint(service, objects)}}]}


def named(kind: str, namespace: str, name: str, labels: Json | None = None) -> Json:
    return {"kind": kind, "metadata": {"namespace": namespace, "name": name, "labels": labels or {}}}
