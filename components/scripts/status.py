"""Look at what stands of a stack on this host; print it as JSON. Nothing is waited for, and nothing is changed.

usage: status.py SOCKETS ENDPOINT NODES UPSTREAMS ADDRESSES HTTP…
SOCKETS: where LXD's may be on this host, with colons between. ENDPOINT: name of the unit and files of the API's
endpoint (k3s_endpoint.sh). NODES, UPSTREAMS: {name: address}. ADDRESSES: {service: address} as the last `up` has seen
them. HTTP: services that are asked over HTTP on port 80; of the others the first TCP port is opened.

Where something cannot be seen, its place has {"error": why}.
"""

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.scripts.on_server import Lxd, find
from components.scripts.proof import next_hops, sessions, status, upstreams

UNITS = 'for its in k3s k3s-agent; do ! systemctl cat $its >&2 || echo "$its $(systemctl is-active $its)"; done'
KUBECTL = ["timeout", "30", "k3s", "kubectl", "get", "-o", "json"]
AGENT = {"k8s-app": "cilium"}
OPERATOR = "cilium-operator"
SECONDS = 5


def seen(look: Callable[..., Any], *arguments: Any) -> Any:
    """What it sees, or why nothing."""
    try:
        return look(*arguments)
    except (OSError, ValueError, LookupError, http.client.HTTPException, subprocess.SubprocessError) as error:
        return {"error": str(getattr(error, "stderr", "") or error).strip()}


def instances(lxd: Any, nodes: dict[str, str]) -> dict[str, Any]:
    """By node: its instance's project and status, and the state of its unit of k3s."""
    there = lxd.instances()
    return {name: instance(lxd, there[address]) for name, address in nodes.items() if address in there}


def instance(lxd: Any, its: Any) -> dict[str, Any]:
    found = {key: its[key] for key in ("name", "project", "status")}
    if its["status"] != "Running":
        return found
    try:
        _, said, _ = lxd.execute(its, ["sh", "-c", UNITS])
    except OSError as error:
        lxd.close()
        return {**found, "error": str(error)}
    unit, _, state = said.strip().partition(" ")
    return {**found, "unit": unit, "state": state}


def endpoint(name: str) -> str:
    """What the API answers where users reach it: nothing where it answers as it should. Errors: OSError."""
    bind = re.search(r"^ +bind (\S+):(\d+)", Path(f"/etc/haproxy/{name}.cfg").read_text(), re.MULTILINE)
    address, port = bind.groups() if bind else ("127.0.0.1", "6443")
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified)
    url = f"https://{address}:{port}/readyz"  # where that is all of them, Linux takes it for loopback
    try:
        urllib.request.build_opener(*direct).open(url, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        return "" if error.code in (401, 403) else f"it answers {url} with {error.code}"
    return ""


def cluster(lxd: Any, listed: list[str]) -> dict[str, Any]:
    """Of the cluster's nodes, agents, operator and Services what tells whether they are well. Errors: OSError."""
    server, said, _ = find(lxd, listed)
    if server is None:
        raise OSError(said)

    def get(*what: str) -> list[Any]:
        code, text, complaint = lxd.execute(server, [*KUBECTL, *what])
        if code:
            raise OSError(complaint.strip())
        return list(json.loads(text)["items"])

    everywhere = get("nodes,services,endpointslices", "--all-namespaces")
    system = get("pods,deployments", "--namespace=kube-system")
    return {
        "nodes": {its["metadata"]["name"]: node(its) for its in everywhere if its["kind"] == "Node"},
        "agents": {
            its["spec"].get("nodeName", ""): pod(its)
            for its in system
            if its["kind"] == "Pod" and AGENT.items() <= its["metadata"].get("labels", {}).items()
        },
        "operator": next(
            (its.get("status", {}).get("availableReplicas", 0) for its in system if is_the_operator(its)), None
        ),
        "services": {
            key(its): {
                "addresses": [
                    ingress.get("ip") or ingress.get("hostname", "")
                    for ingress in its["status"].get("loadBalancer", {}).get("ingress", [])
                ],
                "port": next(port["port"] for port in its["spec"]["ports"] if port.get("protocol", "TCP") == "TCP"),
                "endpoints": sum(ready(other) for other in everywhere if is_of(other, its)),
            }
            for its in everywhere
            if its["kind"] == "Service" and its["spec"]["type"] == "LoadBalancer"
            if any(port.get("protocol", "TCP") == "TCP" for port in its["spec"]["ports"])
        },
    }


def node(its: Any) -> dict[str, Any]:
    conditions = {each["type"]: each for each in its["status"].get("conditions", [])}
    said = conditions.get("Ready", {"status": "Unknown", "message": "it has told nothing yet"})
    return {
        "ready": said["status"] == "True",
        "said": said.get("message", ""),
        "version": its["status"].get("nodeInfo", {}).get("kubeletVersion", ""),
        "cordoned": its["spec"].get("unschedulable", False),
    }


def pod(its: Any) -> dict[str, Any]:
    states = its["status"].get("containerStatuses", [])
    waiting = [state["state"]["waiting"] for state in states if "waiting" in state.get("state", {})]
    image = next((each["image"] for each in its["spec"]["containers"] if each["name"] == "cilium-agent"), "")
    version = re.search(r":v?(\d+\.\d+\.\d+)", image)
    return {
        "pod": its["metadata"]["name"],
        "ready": bool(states) and all(state["ready"] for state in states),
        "said": "; ".join(each.get("message") or each["reason"] for each in waiting) or its["status"].get("phase", ""),
        "version": version[1] if version else "",
    }


def is_the_operator(its: Any) -> bool:
    return bool(its["kind"] == "Deployment" and its["metadata"]["name"] == OPERATOR)


def key(its: Any) -> str:
    return f"{its['metadata']['namespace']}/{its['metadata']['name']}"


def is_of(other: Any, service: Any) -> bool:
    """Whether it is an EndpointSlice of the Service."""
    metadata = other["metadata"]
    owner = metadata.get("labels", {}).get("kubernetes.io/service-name")
    return other["kind"] == "EndpointSlice" and f"{metadata['namespace']}/{owner}" == key(service)


def ready(slice_: Any) -> int:
    return sum(each.get("conditions", {}).get("ready", True) for each in slice_.get("endpoints") or [])


def opened(address: str, port: int) -> str:
    """Why no TCP connection is to be had; nothing if one is."""
    try:
        socket.create_connection((address, port), SECONDS).close()
    except OSError as error:
        return str(error)
    return ""


def main(arguments: list[str]) -> str:
    paths, name, *texts = arguments[:5]
    nodes, beyond, addresses = map(json.loads, texts)
    asked = arguments[5:]
    path = next((path for path in paths.split(":") if Path(path).exists()), paths)
    listed = Path(f"/var/lib/cilium-bgp/{name}.servers")
    servers = listed.read_text().split() if listed.exists() else [f"{its}={at}" for its, at in nodes.items()]
    found = {
        "instances": seen(instances, Lxd(path), nodes),
        "endpoint": seen(endpoint, name),
        "cluster": seen(cluster, Lxd(path), servers),
        "sessions": seen(sessions, nodes),
        "upstreams": seen(upstreams, beyond),
    }
    services = {
        service: (its["addresses"][0], its["port"])
        for service, its in found["cluster"].get("services", {}).items()
        if len(its["addresses"]) == 1
    }

    def answer(service: str) -> int | str:
        address, port = services[service]
        return status(address) if service in asked else opened(address, port)

    routed = [*addresses.values(), *(address for address, _ in services.values())]
    with ThreadPoolExecutor(16) as pool:
        found["routes"] = {address: seen(next_hops, address) for address in dict.fromkeys(routed)}
        found["answers"] = dict(zip(services, pool.map(answer, services), strict=True))
    return json.dumps(found)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
