"""One Linux machine becomes a Kubernetes cluster whose LoadBalancer addresses a real BGP router has learned."""

import atexit
import gc

import pulumi

import settings
import settings.preflight
from components.access import Access
from components.bgp_router import BgpRouter
from components.cilium import Cilium
from components.existing_host import ExistingHost
from components.exposure import Exposure
from components.fcdemo import FcDemo
from components.firewall import Firewall
from components.hubble import Hubble
from components.k3s_cluster import K3sCluster
from components.l7_echo import L7Echo
from components.linode_host import LinodeHost
from components.lxd_host import LxdHost
from components.lxd_topology import LxdTopology
from components.pod_routes import PodRoutes
from components.preflight import Preflight
from components.proof import Proof
from components.remote import Connection

FCDEMO = "default/fcdemo-service"
HUBBLE = ("kube-system/hubble-relay", "kube-system/hubble-ui")

its = settings.load()

# A run leaves little garbage among hundreds of thousands of objects that stay: docs/performance.md has what it saves.
gc.disable()
atexit.register(gc.freeze)  # else Python's end looks at them all once more

private_key = pulumi.Output.secret(its.ssh_private_key)
bgp_password = None if its.bgp_password is None else pulumi.Output.secret(its.bgp_password)
ngrok_authtoken = None if its.ngrok_authtoken is None else pulumi.Output.secret(its.ngrok_authtoken)
gateway, network = its.lxd.bridge.gateway, its.lxd.bridge.network
snapshots = its.k3s.snapshots
s3_keys = [pulumi.Output.secret(key) for key in (its.s3_access_key, its.s3_secret_key) if key]
forwards = its.exposure.forwards if its.exposure.mode == "forward" else ()
open_to = [str(cidr) for cidr in its.open_to]

host: LinodeHost | ExistingHost
if isinstance(its.host, settings.LinodeSettings):
    host = LinodeHost(
        "host",
        {
            "label": its.host.label,
            "region": its.host.region,
            "type": its.host.type,
            "image": its.host.image,
            "interfaces": its.host.interfaces,
            "authorized_users": its.host.authorized_users,
            "public_key": its.ssh_public_key,
            "private_key": private_key,
            "admin_cidrs": [str(cidr) for cidr in its.host.admin_cidrs],
            "api_port": its.k3s.api_port,
            "open_ports": sorted({port for ports in its.load_balancers.values() for port in ports})
            if open_to
            else [forward.host_port for forward in forwards],
            "open_cidrs": [str(cidr) for cidr in its.exposure.cidrs],
            "protect": its.protect,
        },
    )
else:
    host = ExistingHost(
        "host",
        {
            "address": its.host.address,
            "port": its.host.port,
            "user": its.host.user,
            "host_key": its.host.host_key,
            "private_key": private_key,
        },
    )

preflight = Preflight(
    "preflight",
    {"connection": host.connection, "machine": host.machine, "wanted": settings.preflight.arguments(its)},
)

authorized_keys = list(dict.fromkeys([its.ssh_public_key, *its.authorized_keys]))
Access(
    "access",
    {
        "connection": host.connection,
        "machine": host.machine,
        "after": [preflight],
        "authorized_keys": authorized_keys,
    },
)

firewall = Firewall(
    "firewall",
    {
        "connection": host.connection,
        "machine": host.machine,
        "after": [preflight],
        "bridge": its.lxd.bridge.name,
        "gateway": str(gateway),
        "nodes": [str(node.address) for node in its.nodes.values()],
        "api_port": its.k3s.api_port,
        "pool": str(its.bgp.pool),
        "open_to": open_to,
    },
)

lxd = LxdHost(
    "lxd",
    {
        "connection": host.connection,
        "machine": host.machine,
        "after": [firewall],  # LXD takes the kind of rules that it finds when it starts
        "project": its.lxd.project,
        "timeout_seconds": its.lxd.timeout_seconds,
    },
)

topology = LxdTopology(
    "topology",
    {
        "lxd": lxd.lxd,
        "connection": host.connection,
        "machine": host.machine,
        "project": its.lxd.project,
        "storage_pool": its.lxd.storage_pool.name,
        "storage_driver": its.lxd.storage_pool.driver,
        "bridge": its.lxd.bridge.name,
        "bridge_address": str(its.lxd.bridge.address),
        "dhcp_range": its.dhcp_range,
        "image": its.lxd.image,
        "login_user": its.lxd.login_user,
        "private_key": private_key,
        "authorized_keys": [*authorized_keys, lxd.public_key],
        "snapshots": snapshots.folder,
        "kernel_modules": lxd.kernel_modules,
        # Servers first: an agent needs one.
        "nodes": {
            name: {"address": str(node.address), "generation": node.generation, "snapshots": node.role == "server"}
            for name, node in {**its.servers, **its.agents}.items()
        },
        "timeout_seconds": its.lxd.timeout_seconds,
        "protect": its.protect,
    },
)
identities = [node.identity for node in topology.nodes.values()]

router = BgpRouter(
    "router",
    {
        "connection": host.connection,
        "machine": host.machine,
        "bridge": topology.bridge,
        "address": str(gateway),
        "asn": its.bgp.peer_asn,
        "node_asn": its.bgp.local_asn,
        "nodes": [str(node.address) for node in its.nodes.values()],
        "pool": str(its.bgp.pool),
        "hold_time_seconds": its.bgp.hold_time_seconds,
        "keepalive_time_seconds": its.bgp.keepalive_time_seconds,
        "restart_time_seconds": its.bgp.restart_time_seconds if its.bgp.graceful_restart else None,
        "password": bgp_password,
        "upstreams": {
            name: {
                "address": str(upstream.address),
                "asn": upstream.asn,
                "multihop": upstream.multihop,
                "announce": upstream.announce,
                "communities": upstream.communities,
                "accept_default_route": upstream.accept_default_route,
                "password": pulumi.Output.secret(password) if (password := its.upstream_passwords.get(name)) else None,
            }
            for name, upstream in its.bgp.upstreams.items()
        },
    },
)

cluster = K3sCluster(
    "k3s",
    {
        "host": host.connection,
        "machine": host.machine,
        "servers": {name: topology.nodes[name] for name in its.servers},
        "server_addresses": {name: str(node.address) for name, node in its.servers.items()},
        "agents": {name: topology.nodes[name] for name in its.agents},
        "version": its.k3s.version,
        "installer_url": its.k3s.installer_url,
        "artifact_url": its.k3s.artifact_url or "",
        "cluster_cidr": str(its.k3s.cluster_cidr),
        "service_cidr": str(its.k3s.service_cidr),
        "kube_proxy": not its.cilium.kube_proxy_replacement,
        "api_address": host.address,
        "api_listen": host.api_listen,
        "gateway": str(gateway),
        "api_port": its.k3s.api_port,
        "timeout_seconds": its.k3s.timeout_seconds,
        "drain_timeout_seconds": its.k3s.drain_timeout_seconds,
        "agents_at_once": its.k3s.agents_at_once,
        "agent_token_generation": its.k3s.agent_token_generation,
        "snapshots": {
            "schedule": snapshots.schedule,
            "keep": snapshots.keep,
            "on_host": snapshots.folder is not None,
            "s3": {
                "bucket": snapshots.s3.bucket,
                "endpoint": snapshots.s3.endpoint,
                "region": snapshots.s3.region,
                "folder": snapshots.s3.folder,
                "keys": s3_keys,
            }
            if snapshots.s3
            else None,
        }
        if snapshots.folder or snapshots.s3
        else None,
        "restore": snapshots.restore or "",
    },
)
on_cluster = pulumi.ResourceOptions(provider=cluster.provider)

cilium = Cilium(
    "cilium",
    {
        "version": its.cilium.version,
        "chart": its.cilium.chart,
        "mode": its.bgp.mode,
        "bgp": {
            "local_asn": its.bgp.local_asn,
            "peer_asn": router.peer_asn,
            "peer_address": router.peer_address,
            "pool": str(its.bgp.pool),
            "announce_pod_cidr": its.bgp.announce_pod_cidr,
            "password": router.password,
            "hold_time_seconds": its.bgp.hold_time_seconds,
            "keepalive_time_seconds": its.bgp.keepalive_time_seconds,
            "connect_retry_time_seconds": its.bgp.connect_retry_time_seconds,
            "graceful_restart": its.bgp.graceful_restart,
            "restart_time_seconds": its.bgp.restart_time_seconds,
        },
        "hubble": {
            "enabled": its.hubble.enabled,
            "relay": its.hubble.enabled and its.hubble.relay,
            "ui": its.hubble.enabled and its.hubble.ui,
            "service_type": its.hubble.service_type,
            "metrics": its.hubble.metrics,
        },
        "cluster_cidr": str(its.k3s.cluster_cidr),
        "kube_proxy_replacement": its.cilium.kube_proxy_replacement,
        "envoy": its.l7echo.enabled,
        "values": its.cilium.values,
        "values_secret": its.chart_values_secret,
        "nodes": len(its.nodes),
        "server": cluster.control_plane,
        "joined": cluster.joined,
        "again": [cluster.fingerprint, *identities],
        "timeout_seconds": its.cilium.timeout_seconds,
    },
    on_cluster,
)

pods = (
    PodRoutes(
        "pods",
        {
            "connection": host.connection,
            "machine": host.machine,
            "server": cluster.control_plane,
            "nodes": {name: node.address for name, node in topology.nodes.items()},
            "cluster_cidr": str(its.k3s.cluster_cidr),
            "rests_on": [router.fingerprint, cilium.fingerprint],
            "timeout_seconds": its.proof.timeout_seconds,
        },
    )
    if its.bgp.announce_pod_cidr
    else None
)

hubble = Hubble(
    "hubble",
    {
        "services": [service for service in HUBBLE if service in its.load_balancers],
        "pool": str(its.bgp.pool),
        "server": cluster.control_plane,
        "ssh": host.ssh,
        "rests_on": cilium.fingerprint,
        "timeout_seconds": its.proof.timeout_seconds,
    },
)

fcdemo = (
    FcDemo(
        "fcdemo",
        {
            "image": its.fcdemo.image,
            "replicas": its.fcdemo.replicas,
            "server": cluster.control_plane,
            "after": [cilium],
        },
        on_cluster,
    )
    if its.fcdemo.enabled
    else None
)

l7_echo = (
    L7Echo(
        "l7echo",
        {
            "server": cluster.control_plane,
            "after": [cilium],
            "rests_on": cilium.fingerprint,
            "timeout_seconds": its.proof.timeout_seconds,
        },
        on_cluster,
    )
    if its.l7echo.enabled
    else None
)

proof = Proof(
    "proof",
    {
        "connection": host.connection,
        "machine": host.machine,
        "server": cluster.control_plane,
        "nodes": {name: node.address for name, node in topology.nodes.items()},
        "pool": str(its.bgp.pool),
        "upstreams": {
            name: (str(upstream.address), str(its.bgp.pool) if upstream.announce == "pool" else "")
            for name, upstream in its.bgp.upstreams.items()
        },
        "services": list(its.load_balancers),
        "http": [FCDEMO] if fcdemo else [],
        "rests_on": [part.fingerprint for part in (host, firewall, router, cluster, cilium, pods, fcdemo) if part],
        "timeout_seconds": its.proof.timeout_seconds,
    },
)

client = its.exposure.client
exposure = Exposure(
    "exposure",
    {
        "mode": its.exposure.mode,
        "connection": host.connection,
        "machine": host.machine,
        "lxd": lxd.lxd,
        "bridge": topology.bridge,
        "listen_address": str(its.exposure.listen_address) if its.exposure.listen_address else host.address,
        "addresses": proof.load_balancer_ips,
        "ssh": host.ssh,
        "services": [service for service in its.load_balancers if service not in HUBBLE],
        "shown": list(its.load_balancers),
        "client": Connection(
            host=client.address,
            port=client.port,
            user=client.user,
            host_key=client.host_key,
            private_key=private_key,
        )
        if client
        else None,
        "forwards": [
            {"service": forward.service, "service_port": forward.service_port, "host_port": forward.host_port}
            for forward in forwards
        ],
        "ngrok_service": FCDEMO,
        "ngrok_authtoken": ngrok_authtoken,
        "http": [FCDEMO] if fcdemo else [],
        "rests_on": proof.fingerprint,
        "timeout_seconds": its.proof.timeout_seconds,
    },
)

pulumi.export("host_address", host.address)
pulumi.export(
    "nodes", {name: {"role": its.nodes[name].role, "address": node.address} for name, node in topology.nodes.items()}
)
pulumi.export("kube_api", cluster.api)
pulumi.export("kubeconfig", cluster.kubeconfig)
pulumi.export("load_balancer_ips", proof.load_balancer_ips)
pulumi.export("bgp", proof.report)
pulumi.export("urls", exposure.urls)
pulumi.export(
    "ssh_commands",
    {
        "host": host.ssh,
        **{
            name: pulumi.Output.format("{0} -t ssh {1}@{2}", host.ssh, node.connection.user, node.address)
            for name, node in topology.nodes.items()
        },
        **hubble.ssh_commands,
        **exposure.ssh_commands,
    },
)
if l7_echo:
    pulumi.export("l7_answer", l7_echo.answer)
