"""Wait until Services of type LoadBalancer have exactly one address each, inside the pool; print all that have one,
other people's too, as JSON.

usage: load_balancer_ips.py SECONDS POOL NAMESPACE/NAME…
"""

import ipaddress
import json
import subprocess
import sys

from components.scripts.awaited import awaited, words_of


def load_balancers() -> dict[str, list[str]]:
    command = ["k3s", "kubectl", "get", "services", "--all-namespaces", "-o", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    return {
        f"{service['metadata']['namespace']}/{service['metadata']['name']}": [
            ingress.get("ip") or ingress.get("hostname", "")
            for ingress in service["status"].get("loadBalancer", {}).get("ingress", [])
        ]
        for service in json.loads(listed)["items"]
        if service["spec"]["type"] == "LoadBalancer"
    }


def within(address: str, pool: ipaddress.IPv4Network) -> bool:
    """Whether it is an address of the pool, and no host name."""
    try:
        return ipaddress.ip_address(address) in pool
    except ValueError:
        return False


def problem(seen: dict[str, list[str]], pool: ipaddress.IPv4Network, wanted: list[str]) -> str:
    for name in wanted:
        addresses = seen.get(name)
        if addresses is None:
            return f"{name}: no such Service of type LoadBalancer; there are {', '.join(seen) or 'none'}"
        if not addresses:
            used = sum(within(address, pool) for other in seen.values() for address in other)
            return f"{name}: no address yet; {used} of the {pool.num_addresses} addresses of {pool} are in use"
        if len(addresses) > 1:
            return f"{name}: {', '.join(addresses)}; Cilium announces only a Service with one address. Is servicelb on?"
        if not within(addresses[0], pool):
            return f"{name}: {addresses[0]} is not in the pool {pool}; something else gives addresses. Is servicelb on?"
    return ""


def main(seconds: float, pool: ipaddress.IPv4Network, wanted: list[str]) -> str:
    seen: dict[str, list[str]] = {}

    def missing() -> str:
        try:
            found = load_balancers()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return words_of(error)
        seen.clear()
        seen.update(found)
        return problem(seen, pool, wanted)

    if said := awaited(seconds, "LoadBalancer addresses", missing):
        sys.exit(f"LoadBalancer addresses: not within {seconds:.0f} s; last seen: {said}")
    for name in sorted(seen.keys() - set(wanted)):
        if not seen[name]:
            print(f"{name}: no address; not of this stack, so not demanded", file=sys.stderr)
    return json.dumps({name: seen[name][0] for name in sorted(seen) if seen[name]})


if __name__ == "__main__":
    print(main(float(sys.argv[1]), ipaddress.IPv4Network(sys.argv[2]), sys.argv[3:]))
