"""Wait until Cilium has given each node a range for its pods; print them as JSON, {node: [CIDR…]}.

usage: pod_ranges.py SECONDS CLUSTER_CIDR NODE…
"""

import ipaddress
import json
import subprocess
import sys

from components.scripts.awaited import awaited, words_of

Ranges = dict[str, list[ipaddress.IPv4Network]]


def ranges() -> Ranges:
    command = ["k3s", "kubectl", "get", "ciliumnodes", "-o", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    return {
        node["metadata"]["name"]: [
            ipaddress.IPv4Network(cidr) for cidr in node["spec"].get("ipam", {}).get("podCIDRs", []) if ":" not in cidr
        ]
        for node in json.loads(listed)["items"]
    }


def main(seconds: float, cluster: ipaddress.IPv4Network, wanted: list[str]) -> str:
    seen: Ranges = {}

    def missing() -> str:
        try:
            found = ranges()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return words_of(error)
        seen.clear()
        seen.update(found)
        without = [node for node in wanted if not seen.get(node)]
        return f"no CiliumNode with spec.ipam.podCIDRs for {', '.join(without)}" if without else ""

    if said := awaited(seconds, "the pods' ranges", missing):
        sys.exit(f"the pods' ranges: not within {seconds:.0f} s; last seen: {said}")
    # What stands there becomes a route of the host: nobody who may write a CiliumNode turns the host's traffic away.
    if foreign := [f"{node} {cidr}" for node in wanted for cidr in seen[node] if not cidr.subnet_of(cluster)]:
        sys.exit(
            f"the pods' ranges: {', '.join(foreign)} outside of {cluster} (k3s.clusterCidr); the router takes no such "
            "route. See who wrote that CiliumNode, or set bgp.announcePodCidr: false"
        )
    return json.dumps({node: [str(cidr) for cidr in seen[node]] for node in wanted})


if __name__ == "__main__":
    print(main(float(sys.argv[1]), ipaddress.IPv4Network(sys.argv[2]), sys.argv[3:]))
