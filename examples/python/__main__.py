"""Two LXD instances on a host, and a BGP router beside them; no Kubernetes."""

import pulumi
import pulumi_cilium_bgp as cilium_bgp

config = pulumi.Config()
ssh = {
    "host": config.require("host"),
    "port": config.get_int("port"),
    "host_key": config.require("hostKey"),
    "private_key": config.require_secret("privateKey"),
}
peers = {"peer1": "10.99.0.11", "peer2": "10.99.0.12"}

topology = cilium_bgp.LxdTopology(
    "topology",
    **ssh,
    bridge="peers0",
    bridge_address="10.99.0.1/24",
    dhcp_range="10.99.0.100-10.99.0.199",
    authorized_keys=[config.require("publicKey")],
    instances={name: cilium_bgp.InstanceArgs(address=address) for name, address in peers.items()},
)

router = cilium_bgp.BgpRouter(
    "router",
    **ssh,
    bridge=topology.bridge,
    address="10.99.0.1",
    asn=64512,
    node_asn=64513,
    nodes=list(peers.values()),
    pool="10.99.1.0/24",
)

pulumi.export("instances", topology.instances)
pulumi.export("peerAddress", router.peer_address)
pulumi.export("password", router.password)
