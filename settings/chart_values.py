"""cilium.values against the keys of the configuration that the rest of the stack goes by."""

from collections.abc import Iterator

from settings.models import Settings
from settings.problems import Problem

_ABSENT = object()


def problems(settings: Settings) -> Iterator[Problem]:
    """What stands in cilium.values and has a key of its own that says another thing.

    Not Hubble's: what is awaited and proven goes by the values there (`Settings.load_balancers`, `cilium.workloads`).
    """
    own: dict[str, tuple[str, tuple[object, ...]]] = {
        "ipam.operator.clusterPoolIPv4PodCIDRList": ("k3s.clusterCidr", ([str(settings.k3s.cluster_cidr)],)),
        "ipam.operator.clusterPoolIPv4MaskSize": ("k3s.clusterCidr", (24, "24")),
        "ipam.operator.clusterPoolIPv4PodCIDR": ("k3s.clusterCidr", (str(settings.k3s.cluster_cidr),)),
        "bgp.announce.podCIDR": ("bgp.announcePodCidr", (settings.bgp.announce_pod_cidr,)),
        "bgp.announce.loadbalancerIP": ("bgp.mode", (True,)),
        "bgp.enabled": ("bgp.mode", (True,)),
        "bgpControlPlane.enabled": ("bgp.mode", (True,)),
    }
    if settings.l7echo.enabled:
        own["loadBalancer.l7.backend"] = ("l7echo.enabled", ("envoy",))
    if settings.cilium.kube_proxy_replacement:
        own |= {
            "k8sServiceHost": ("cilium.kubeProxyReplacement", ("127.0.0.1",)),
            "k8sServicePort": ("cilium.kubeProxyReplacement", (6444, "6444")),
        }
    for path, (key, same) in own.items():
        found: object = settings.cilium.values
        for part in path.split("."):
            found = found.get(part, _ABSENT) if isinstance(found, dict) else _ABSENT
        if found is not _ABSENT and found not in same:
            yield Problem(
                f"cilium.values.{path}",
                f"contradicts {key}, which the rest of the stack goes by. Remove it, and set {key} instead.",
                (key,),
            )
    operator = settings.cilium.values.get("operator")
    replicas = operator.get("replicas") if isinstance(operator, dict) else None
    if isinstance(replicas, int) and replicas > len(settings.nodes):
        yield Problem(
            "cilium.values.operator.replicas",
            f"{replicas}, and nodes: {len(settings.nodes)}; no two operators run on one node, and the others would be "
            "awaited for ever. Write as many as there are nodes, or fewer.",
            ("nodes",),
        )
