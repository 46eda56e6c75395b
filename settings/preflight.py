"""What the host's own preflight (components/scripts/preflight.sh) is asked about."""

from settings.models import Settings


def arguments(its: Settings) -> list[str]:
    """The script's arguments from BRIDGE on."""
    return [
        its.lxd.bridge.name,
        str(its.lxd.bridge.address),
        str(its.bgp.pool),
        str(its.k3s.cluster_cidr),
        str(its.k3s.service_cidr),
        its.lxd.project,
        its.lxd.storage_pool.name,
        its.lxd.storage_pool.driver,
        str(its.k3s.api_port),
        str(len(its.servers)),
        ",".join(
            f"{name}={upstream.address}" for name, upstream in its.bgp.upstreams.items() if upstream.multihop is None
        ),
        *its.nodes,
    ]
