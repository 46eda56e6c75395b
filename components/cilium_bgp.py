"""What tells Cilium about its BGP peer and its address pool, in either mode."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypedDict

import pulumi
import yaml

NAME = "cilium-bgp"
"""Name of the BGP objects in the cluster."""
API_VERSIONS = ("cilium.io/v2alpha1", "cilium.io/v2")
"""Of the BGP kinds and of the pool: v2 exists from Cilium 1.18, v2alpha1 goes with 1.21."""


class Bgp(TypedDict):
    """One peer and one pool."""

    local_asn: int
    """Autonomous system number of the nodes."""
    peer_asn: pulumi.Input[int]
    """Autonomous system number of the router."""
    peer_address: pulumi.Input[str]
    """The router's address."""
    pool: str
    """CIDR that Services of type LoadBalancer get their addresses from."""
    announce_pod_cidr: bool
    """Whether each node announces its pods' range."""
    password: pulumi.Input[str]
    """TCP MD5 password (RFC 2385); a secret."""
    hold_time_seconds: int
    """BGP hold time (RFC 4271 section 4.2)."""
    keepalive_time_seconds: int
    """BGP keepalive interval; control-plane mode only."""
    connect_retry_time_seconds: int
    """How long to wait before dialling again; control-plane mode only."""
    graceful_restart: bool
    """Whether routes survive an agent's restart (RFC 4724); control-plane mode only."""
    restart_time_seconds: int
    """How long they do."""


class Peer(TypedDict):
    """The peer, all known: what the texts below are made of."""

    peer_asn: int
    peer_address: str
    password: str


def metallb_config(bgp: Bgp, peer: Peer) -> str:
    """`config.yaml` of the ConfigMap bgp-config (Cilium 1.10 to 1.16; MetalLB 0.9's format, unknown keys are fatal)."""
    its: dict[str, Any] = {
        "peer-address": peer["peer_address"],
        "peer-asn": peer["peer_asn"],
        "my-asn": bgp["local_asn"],
        "password": peer["password"],
    }
    if bgp["hold_time_seconds"] != 90:  # Cilium's default
        its["hold-time"] = f"{bgp['hold_time_seconds']}s"
    pools = [{"name": "default", "protocol": "bgp", "addresses": [bgp["pool"]]}]
    return yaml.safe_dump({"peers": [its], "address-pools": pools}, sort_keys=False)


def checksum(text: str) -> str:
    """Fingerprint for a pod's annotation. scrypt, because the text may hold a password that a fast hash gives away."""
    return hashlib.scrypt(text.encode(), salt=NAME.encode(), n=2**14, r=8, p=1, dklen=16).hex()


def api_version(cilium_version: str) -> str:
    """That of API_VERSIONS which is asked of this Cilium."""
    return API_VERSIONS[-1] if minor(cilium_version) >= (1, 18) else API_VERSIONS[0]


def minor(version: str) -> tuple[int, int]:
    """(1, 16) of 1.16.19."""
    major, second = version.split(".")[:2]
    return int(major), int(second)


def peer_config(bgp: Bgp) -> dict[str, Any]:
    """Spec of the CiliumBGPPeerConfig. Families are said: Cilium's default has IPv6, for which FRR would wait."""
    return {
        "timers": {
            "connectRetryTimeSeconds": bgp["connect_retry_time_seconds"],
            "holdTimeSeconds": bgp["hold_time_seconds"],
            "keepAliveTimeSeconds": bgp["keepalive_time_seconds"],
        },
        "gracefulRestart": {
            "enabled": bgp["graceful_restart"],
            **({"restartTimeSeconds": bgp["restart_time_seconds"]} if bgp["graceful_restart"] else {}),
        },
        "families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": {"advertise": NAME}}}],
        "authSecretRef": f"{NAME}-auth",
        # With eBGP the agent's packets would leave with TTL 1, which a pod's may reach the host with (RFC 5082).
        "ebgpMultihop": 255,
    }


def cluster_config(bgp: Bgp) -> dict[str, Any]:
    """Spec of the CiliumBGPClusterConfig: every node has a session with the router."""
    peer = {
        "name": "host",
        "peerASN": bgp["peer_asn"],
        "peerAddress": bgp["peer_address"],
        "peerConfigRef": {"name": NAME},
    }
    return {"bgpInstances": [{"name": NAME, "localASN": bgp["local_asn"], "peers": [peer]}]}


def advertisement(bgp: Bgp) -> dict[str, Any]:
    """Spec of the CiliumBGPAdvertisement. Without a selector nothing is announced; this one matches every Service."""
    services: Mapping[str, Any] = {
        "advertisementType": "Service",
        "service": {"addresses": ["LoadBalancerIP"]},
        "selector": {"matchExpressions": [{"key": f"{NAME}/never", "operator": "NotIn", "values": ["true"]}]},
    }
    pods = [{"advertisementType": "PodCIDR"}] if bgp["announce_pod_cidr"] else []
    return {"advertisements": [services, *pods]}


def ip_pool(bgp: Bgp) -> dict[str, Any]:
    """Spec of the CiliumLoadBalancerIPPool, from its first address on as in the other mode."""
    return {"blocks": [{"cidr": bgp["pool"]}], "allowFirstLastIPs": "Yes"}
