"""Prove on the host that its router has learned the cluster's addresses; print what was seen as JSON.

usage: proof.py SECONDS NODES UPSTREAMS ADDRESSES OWN HTTP…
NODES: {name: address} that must have a session; UPSTREAMS: {name: [address, prefix]} of routers that must have been
told that prefix, or else (empty) each of OWN's addresses; ADDRESSES: {service: address}; OWN: [service] whose addresses
must be routes (of the others it is only said what they are); HTTP: services that must answer with 200 on port 80.
"""

import http.client
import ipaddress
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from components.scripts.awaited import awaited, words_of

# Through no proxy that the host may have for the internet.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def output(*command: str) -> Any:
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout or "{}")


def sessions(nodes: dict[str, str]) -> dict[str, Any]:
    peers = output("vtysh", "-c", "show bgp ipv4 unicast summary json").get("peers", {})
    return {
        name: {
            "address": address,
            "state": peers.get(address, {}).get("state", "unknown to the router"),
            "prefixes": peers.get(address, {}).get("pfxRcd", 0),
        }
        for name, address in nodes.items()
    }


def upstreams(addresses: dict[str, str]) -> dict[str, Any]:
    """By name: its session, and the prefixes that it was told."""
    seen = {}
    for name, its in sessions(addresses).items() if addresses else ():
        show = f"show bgp ipv4 unicast neighbors {its['address']} advertised-routes json"
        told = output("vtysh", "-c", show).get("advertisedRoutes", {}) if its["state"] == "Established" else {}
        seen[name] = {"address": its["address"], "state": its["state"], "told": sorted(told)}
    return seen


def next_hops(address: str) -> list[str]:
    try:
        ipaddress.IPv4Address(address)
    except ValueError:  # a host name, say
        return []
    routes = output("ip", "-json", "route", "show", f"{address}/32", "proto", "bgp")
    return sorted(hop["gateway"] for route in routes for hop in route.get("nexthops", [route]) if "gateway" in hop)


def status(address: str) -> int | str:
    try:
        with DIRECT.open(f"http://{address}:80/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def look(
    nodes: dict[str, str], beyond: dict[str, list[str]], addresses: dict[str, str], services: list[str]
) -> dict[str, Any]:
    return {
        "sessions": sessions(nodes),
        "upstreams": upstreams({name: address for name, (address, _) in beyond.items()}),
        "routes": {address: next_hops(address) for address in addresses.values()},
        "http": {service: status(addresses[service]) for service in services},
    }


def unrouted(seen: dict[str, Any], addresses: dict[str, str], services: Iterable[str]) -> list[str]:
    return [
        f"{service} ({addresses[service]}): no BGP route in the kernel; Cilium announces a Service only with a ready "
        "endpoint"
        for service in services
        if not seen["routes"][addresses[service]]
    ]


def untold(seen: dict[str, Any], beyond: dict[str, list[str]], wanted: list[str]) -> Iterator[str]:
    for name, (address, prefix) in beyond.items():
        its = seen["upstreams"][name]
        missing = [route for route in ([prefix] if prefix else wanted) if route not in its["told"]]
        if its["state"] != "Established":
            yield (
                f"upstream {name} ({address}): BGP session is {its['state']}; look at `vtysh -c 'show bgp neighbors "
                f"{address}'` here, and there whether this host is its neighbor with the same ASNs and password"
            )
        elif missing:
            yield f"upstream {name} ({address}): it was not told of {', '.join(missing)}"


def problems(
    seen: dict[str, Any], beyond: dict[str, list[str]], addresses: dict[str, str], own: list[str]
) -> list[str]:
    return [
        *(
            f"node {name} ({its['address']}): BGP session is {its['state']}; look at `vtysh -c 'show bgp summary'` "
            "here and `cilium bgp peers` there, at the ASNs and the password of both sides"
            for name, its in seen["sessions"].items()
            if its["state"] != "Established"
        ),
        *unrouted(seen, addresses, own),
        *untold(seen, beyond, [f"{addresses[service]}/32" for service in own]),
        *(f"{service}: HTTP answered {code}, not 200" for service, code in seen["http"].items() if code != 200),
    ]


def main(arguments: list[str]) -> str:
    seconds, services = float(arguments[0]), arguments[5:]
    nodes, beyond, addresses, own = map(json.loads, arguments[1:5])
    seen: dict[str, Any] = {}

    def missing() -> str:
        try:
            seen.update(look(nodes, beyond, addresses, services))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return words_of(error)
        return "\n".join(problems(seen, beyond, addresses, own))

    if said := awaited(seconds, "the proof", missing):
        sys.exit(f"not proven within {seconds:.0f} s; last seen:\n{said}")
    for other in unrouted(seen, addresses, sorted(addresses.keys() - set(own))):
        print(f"{other}; not of this stack, so not demanded", file=sys.stderr)
    return json.dumps(seen)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
