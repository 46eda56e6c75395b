"""The configuration as types: one model per root key, frozen, unknown keys forbidden, keys in camelCase."""

from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, collapse_addresses
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.alias_generators import to_camel

from settings.keys import public_key
from settings.networks import largest_free_range
from settings.values import (
    AllowedCidr,
    Asn,
    Authentication,
    AuthorizedKey,
    BridgeAddress,
    BridgeName,
    BucketEndpoint,
    BucketFolder,
    BucketName,
    Chart,
    CiliumVersion,
    Community,
    ContainerImage,
    Count,
    DhcpRange,
    Generation,
    HoldTime,
    Hops,
    HostAddress,
    HostFolder,
    HostKey,
    HubbleMetric,
    InstallerUrl,
    K3sVersion,
    Kept,
    LinodeLabel,
    LxdImage,
    NodeAddress,
    Passwords,
    PodCidr,
    Pool,
    PoolName,
    Port,
    ProjectName,
    RestartTime,
    RouterAddress,
    Schedule,
    Seconds,
    ServiceCidr,
    SnapshotName,
    TimerSeconds,
    Url,
    UserName,
    Wave,
    Word,
)
from settings.versions import K3S_INSTALLER


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: to_camel(name) if "_" in name else name,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class LinodeSettings(_Model):
    """A Linode VM that is created. The login user is root."""

    kind: Literal["linode"]
    """`linode`: the VM is created, and destroyed with the stack."""
    label: LinodeLabel = "lxdserver"
    """Name of the VM and of its firewall, unique in the Linode account."""
    region: Word = "eu-central"
    """Region, as `linode-cli regions list` writes it."""
    type: Word = "g7-highmem-1"
    """Plan, as `linode-cli linodes types` writes it: processors, memory and price."""
    image: Word = "linode/ubuntu22.04"
    """Image, as `linode-cli images list` writes it."""
    interfaces: Literal["legacy_config", "linode"] = "legacy_config"
    """Network interfaces of a VM that is made: a configuration profile's, or Linode Interfaces, which are the only ones
    where the account's `interfaces_for_new_linodes` is `linode_only`."""
    authorized_users: tuple[Word, ...] = ()
    """Linode users whose SSH keys may log in as root of a VM that is made, besides `sshPrivateKey`'s."""
    admin_cidrs: tuple[AllowedCidr, ...]
    """Networks that may reach SSH and the Kubernetes API: yours, as the internet sees it."""
    allow_world: bool = False
    """Accept 0.0.0.0/0 or ::/0 in `adminCidrs`."""


class ExistingSettings(_Model):
    """A machine that you have: root, or a user with sudo that asks no password."""

    kind: Literal["existing"]
    """`existing`: the machine stays when the stack is destroyed."""
    address: HostAddress = "127.0.0.1"
    """IP address or DNS name that SSH dials."""
    port: Port = 22
    """TCP port of its SSH server."""
    user: UserName = "root"
    """Login user."""
    host_key: HostKey
    """Its public SSH host key, `TYPE BASE64`; any other key is refused. From `ssh-keyscan`."""


class StoragePoolSettings(_Model):
    """Where LXD keeps the disks of nodes that are made from now on."""

    name: PoolName = "default"
    """Name of the pool; one that exists is adopted."""
    driver: Literal["dir", "btrfs", "lvm", "zfs"] = "dir"
    """LXD's storage driver. Overlayfs in the nodes does not work on zfs."""


class BridgeSettings(_Model):
    """The network of the nodes, and the address at which the router listens."""

    name: BridgeName = "lxdbr0"
    """Name of the interface on the host, 2 to 15 characters. Stays while there are nodes."""
    address: BridgeAddress = IPv4Interface("10.26.23.1/24")
    """Address of the host on it, with prefix length: the nodes' gateway and BGP peer. Stays while there are nodes."""
    dhcp_range: DhcpRange | None = None
    """FIRST-LAST that DHCP gives to other instances. `null`: the largest run free of gateway, nodes and pool."""

    @property
    def gateway(self) -> IPv4Address:
        """The host's address on the bridge."""
        return self.address.ip

    @property
    def network(self) -> IPv4Network:
        """The bridge's subnet."""
        return self.address.network


class LxdSettings(_Model):
    """LXD on the host, and what the nodes are made of."""

    project: ProjectName = "default"
    """LXD project of nodes that are made from now on. Any but `default` is made, and goes with the stack."""
    storage_pool: StoragePoolSettings = StoragePoolSettings()
    bridge: BridgeSettings = BridgeSettings()
    image: LxdImage = "ubuntu:22.04"
    """Image of nodes to come: `ubuntu:NAME` or `local:ALIAS` of one of yours with an SSH server, cloud-init and apt."""
    login_user: UserName = "ubuntu"
    """User that this image's cloud-init gives the SSH key to; a node that is there keeps that of its own image."""
    timeout_seconds: Seconds = 600
    """Wait for a node's address, cloud-init and SSH host key, in seconds."""


class NodeSettings(_Model):
    """A system container that is a Kubernetes node. Its key is its name."""

    role: Literal["server", "agent"]
    """`server` runs the control plane (1, 3, 5 … of them), `agent` workloads only."""
    address: NodeAddress
    """Its fixed IPv4 address on the bridge, outside of `bgp.pool` and of the DHCP range. Another makes it anew."""
    generation: Generation = 1
    """Another number makes the node anew: drained, removed, made, joined. Several go one after the other."""


class BucketSettings(_Model):
    """A bucket that k3s copies each snapshot to, over TLS, with `s3AccessKey` and `s3SecretKey`."""

    bucket: BucketName
    """Its name."""
    endpoint: BucketEndpoint = "s3.amazonaws.com"
    """Host name of the service, and its port unless that is 443. Linode's is like `eu-central-1.linodeobjects.com`."""
    region: Word = "us-east-1"
    """Region of the bucket."""
    folder: BucketFolder | None = None
    """Folder in the bucket."""


class SnapshotSettings(_Model):
    """Snapshots of the cluster's state (etcd), which each server takes by itself."""

    folder: HostFolder | None = None
    """Folder of the host that keeps them, made if it is not there, and never deleted. `null`: k3s's own, every twelve
    hours the last five, inside of each server, where they go with it."""
    s3: BucketSettings | None = None
    schedule: Schedule = "0 */12 * * *"
    """When, as cron writes it: minute, hour, day, month, weekday."""
    keep: Kept = 5
    """How many of each server are kept."""
    restore: SnapshotName | None = None
    """Name of one in folder or bucket: a cluster that this stack starts begins with it. One that is there stays."""


class K3sSettings(_Model):
    """Kubernetes on the nodes."""

    version: K3sVersion = "v1.25.6+k3s1"
    """k3s release, `vX.Y.Z+k3sN`; Cilium must be tested with its Kubernetes."""
    installer_url: InstallerUrl = K3S_INSTALLER
    """Where the installer script is downloaded from: k3s's own of one release, which installs any. With `#sha256=…` at
    its end no other script than that runs."""
    artifact_url: Url | None = None
    """Mirror of k3s's release artifacts (folder that holds the versions), for installers of 2026 and later. `null`:
    GitHub's."""
    allow_http: bool = False
    """Accept `http://` in `installerUrl` and `artifactUrl`: what comes from there runs as root on every node."""
    api_port: Port = 6443
    """TCP port of the host at which the Kubernetes API of all servers is reached, by users and by nodes."""
    cluster_cidr: PodCidr = IPv4Network("10.42.0.0/16")
    """Network of the pods; each node takes a /24 of it."""
    service_cidr: ServiceCidr = IPv4Network("10.43.0.0/16")
    """Network of the Services' cluster addresses, /12 to /28."""
    timeout_seconds: Seconds = 600
    """Wait for a node to become Ready, in seconds."""
    drain_timeout_seconds: Seconds = 120
    """How long a PodDisruptionBudget may hold up a node that is changed or removed, in seconds; then it is an error."""
    agents_at_once: Wave = 1
    """How many agents are changed at a time, when k3s is upgraded. Servers go before, one at a time."""
    agent_token_generation: Generation = 1
    """Another number has a new token made that agents join with: servers, then agents, restart with it in turns."""
    snapshots: SnapshotSettings = SnapshotSettings()


class UpstreamSettings(_Model):
    """A router beyond the host, by its name, with an eBGP session of its own: the LAN's, or a data centre's."""

    address: RouterAddress
    """Its address, which the host's router dials; by IPv6 it is told the pool's IPv4 addresses too (RFC 8950)."""
    asn: Asn
    """Its autonomous system number, another one than `localAsn` and `peerAsn`."""
    multihop: Hops | None = None
    """How many hops away it is at most. `null`: on a network of the host's own."""
    announce: Literal["addresses", "pool"] = "addresses"
    """`addresses`: it is told those that nodes announce, /32 by /32. `pool`: the whole pool, while they announce one of
    it. Nothing else."""
    communities: tuple[Community, ...] = ()
    """Communities (RFC 1997) that go with what it is told, e.g. '65000:1'."""
    accept_default_route: bool = False
    """Take a default route from it; anything else that it tells is refused. A default route that the host has by itself
    goes before it."""


class BgpSettings(_Model):
    """The sessions between Cilium on the nodes and the router on the host."""

    mode: Literal["configmap", "control-plane"] = "configmap"
    """`configmap`: MetalLB style, Cilium 1.10 to 1.16. `control-plane`: Cilium's BGP resources, 1.16 and later."""
    local_asn: Asn = 64512
    """Autonomous system number of the nodes."""
    peer_asn: Asn = 64512
    """Autonomous system number of the host's router. Equal to `localAsn`: iBGP, else eBGP."""
    pool: Pool = IPv4Network("10.26.23.32/27")
    """Addresses for Services of type LoadBalancer, announced one by one as /32."""
    announce_pod_cidr: bool = True
    """Announce each node's pod network too."""
    authentication: Authentication = "md5"
    """`md5`: TCP MD5 signatures (RFC 2385), with `bgpPassword` or else a password that the stack makes."""
    hold_time_seconds: HoldTime = 90
    """A session without a message for so long is down: 0 (never; configmap mode only) or 3 to 65535 seconds."""
    keepalive_time_seconds: TimerSeconds = 30
    """Time between keepalives in seconds, below the hold time. In configmap mode of the router's only."""
    connect_retry_time_seconds: TimerSeconds = 10
    """Time between attempts to connect, in seconds. Control-plane mode only."""
    graceful_restart: bool = False
    """Keep routes while an agent restarts (RFC 4724). Control-plane mode only."""
    restart_time_seconds: RestartTime = 30
    """With `gracefulRestart`: how long they are kept, longer than an agent takes to start. A node that went silent is
    no restart: its routes go with the hold time."""
    upstreams: dict[str, UpstreamSettings] = {}
    """Routers beyond the host that are told where the pool is, with `exposure.mode` bgp."""


class CiliumSettings(_Model):
    """The network of the pods, and what gives and announces LoadBalancer addresses."""

    version: CiliumVersion = "1.13.0"
    """Release of Cilium and of its chart, `X.Y.Z`."""
    chart: Chart = "https://helm.cilium.io"
    """Chart: repository URL, `oci://…`, or path of a local folder or .tgz."""
    allow_http: bool = False
    """Accept `http://` in `chart`."""
    kube_proxy_replacement: bool = False
    """Cilium does what kube-proxy does, and k3s runs without it."""
    values: dict[str, object] = {}
    """Further values of the chart, merged last. What has a key of its own here is set there."""
    timeout_seconds: Seconds = 900
    """Wait for agents, operator, relay and UI, in seconds."""


class HubbleSettings(_Model):
    """Cilium's view of the traffic."""

    enabled: bool = True
    """Hubble in the agents. `false` switches relay and UI off too."""
    relay: bool = True
    """Relay: the flows of all nodes at one address."""
    ui: bool = True
    """Web page; needs the relay."""
    service_type: Literal["LoadBalancer", "NodePort", "ClusterIP"] = "LoadBalancer"
    """Type of the Services of relay and UI; LoadBalancer takes an address of the pool for each."""
    metrics: tuple[HubbleMetric, ...] = ("dns", "drop", "tcp", "flow", "icmp", "http")
    """Hubble's metrics, with their options after a colon."""


class FcDemoSettings(_Model):
    """The article's demonstration: Deployment fcdemo3 and Service fcdemo-service."""

    enabled: bool = True
    """Create it."""
    image: ContainerImage = "mcas/franceconnect-demo2:latest"
    """Container image; answers HTTP on port 3000."""
    replicas: Count = 4
    """Number of pods."""


class L7EchoSettings(_Model):
    """Cilium's example of load balancing in Envoy."""

    enabled: bool = False
    """Create it. Needs `cilium.kubeProxyReplacement`."""


class ForwardSettings(_Model):
    """A TCP port of the host that leads to a Service."""

    service: str
    """Service of type LoadBalancer, `namespace/name`."""
    service_port: Port
    """TCP port of the Service."""
    host_port: Port
    """TCP port of the host."""


class ClientSettings(_Model):
    """A machine beyond the host, with python3, that `sshPrivateKey` enters: root, or a user with sudo that asks no
    password."""

    address: HostAddress
    """IP address or DNS name that SSH dials."""
    port: Port = 22
    """TCP port of its SSH server."""
    user: UserName = "root"
    """Login user."""
    host_key: HostKey
    """Its public SSH host key, `TYPE BASE64`; any other key is refused. From `ssh-keyscan`."""


class ExposureSettings(_Model):
    """How Services are reached from beyond the host."""

    mode: Literal["none", "ngrok", "forward", "bgp"] = "none"
    """`none`: ready-made `ssh -L` lines. `ngrok`: public URL of default/fcdemo-service:80. `forward`: host ports.
    `bgp`: their own addresses, which `bgp.upstreams` are told."""
    cidrs: tuple[AllowedCidr, ...] = ()
    """Networks that may reach the addresses in bgp mode, or the forwarded ports of a Linode."""
    client: ClientSettings | None = None
    """Who asks the addresses in bgp mode, to prove them. `null`: the host itself, which has them anyway."""
    listen_address: NodeAddress | None = None
    """The host's own IPv4 address at which forwarded ports listen. `null`: `host.address`, or the Linode's. Forward
    mode only."""
    forwards: tuple[ForwardSettings, ...] = ()
    """Forwarded ports. Forward mode only."""


class ProofSettings(_Model):
    """The check from the host that it really works."""

    timeout_seconds: Seconds = 300
    """Wait for sessions, routes and an HTTP answer, in seconds."""


class Settings(_Model):
    """The whole configuration of a stack."""

    host: Annotated[LinodeSettings | ExistingSettings, Field(discriminator="kind")]
    lxd: LxdSettings = LxdSettings()
    nodes: dict[str, NodeSettings]
    k3s: K3sSettings = K3sSettings()
    bgp: BgpSettings = BgpSettings()
    cilium: CiliumSettings = CiliumSettings()
    hubble: HubbleSettings = HubbleSettings()
    fcdemo: FcDemoSettings = FcDemoSettings()
    l7echo: L7EchoSettings = L7EchoSettings()
    exposure: ExposureSettings = ExposureSettings()
    proof: ProofSettings = ProofSettings()
    protect: bool = False
    """Refuse to delete the Linode VM and the LXD instances."""
    authorized_keys: tuple[AuthorizedKey, ...] = ()
    """SSH public keys that may enter host and nodes besides `sshPrivateKey`'s, e.g. the next one's (docs/keys.md)."""
    ssh_private_key: str = Field("", repr=False, exclude=True)
    """Private key for host and nodes, OpenSSH or PEM, without passphrase. Always required."""
    bgp_password: str | None = Field(None, repr=False, exclude=True)
    """TCP MD5 password, 1 to 80 bytes. Without it the stack makes one and keeps it in its state."""
    ngrok_authtoken: str | None = Field(None, repr=False, exclude=True)
    """Token of your ngrok account. Required with `exposure.mode` ngrok."""
    s3_access_key: str | None = Field(None, repr=False, exclude=True)
    """Name of the key for `k3s.snapshots.s3`, which requires it."""
    s3_secret_key: str | None = Field(None, repr=False, exclude=True)
    """Its secret half."""
    upstream_passwords: Passwords = Field({}, repr=False, exclude=True)
    """TCP MD5 passwords by the name in `bgp.upstreams`, 1 to 80 bytes each; without one the session is not signed. Set
    with `--path`."""
    _chart_values_secret: bool = PrivateAttr(False)

    @property
    def chart_values_secret(self) -> bool:
        """Whether Pulumi gave something in `cilium` as a secret: all of `cilium.values` is kept as one then."""
        return self._chart_values_secret

    @property
    def servers(self) -> dict[str, NodeSettings]:
        """Nodes that run the control plane, in the configuration's order."""
        return {name: node for name, node in self.nodes.items() if node.role == "server"}

    @property
    def agents(self) -> dict[str, NodeSettings]:
        """Nodes that run workloads only, in the configuration's order."""
        return {name: node for name, node in self.nodes.items() if node.role == "agent"}

    @property
    def load_balancers(self) -> dict[str, tuple[int, ...]]:
        """Services that take an address of the pool, "namespace/name", and their TCP ports."""
        services = {
            "kube-system/traefik": ((80, 443), True),
            "kube-system/hubble-relay": ((80,), self._shown("relay", self.hubble.relay)),
            "kube-system/hubble-ui": ((80,), self._shown("ui", self.hubble.ui)),
            "default/fcdemo-service": ((80,), self.fcdemo.enabled),
        }
        return {name: ports for name, (ports, wanted) in services.items() if wanted}

    @property
    def open_to(self) -> tuple[IPv4Network, ...]:
        """Networks beyond the host that may ask the pool's addresses, none within another: nft has refused that."""
        cidrs = self.exposure.cidrs if self.exposure.mode == "bgp" else ()
        return tuple(collapse_addresses(cidr for cidr in cidrs if isinstance(cidr, IPv4Network)))

    def _shown(self, part: str, wanted: bool) -> bool:
        """Whether that part of Hubble has a Service of type LoadBalancer; what `cilium.values` say wins."""

        def value(configured: object, *path: str) -> object:
            found: object = self.cilium.values
            for key in ("hubble", *path):
                found = found.get(key) if isinstance(found, dict) else None
            return configured if found is None else found

        hubble = self.hubble
        there = value(hubble.enabled, "enabled") or value(False, part, "standalone", "enabled")
        on = there and value(hubble.enabled and wanted, part, "enabled")
        return bool(on) and value(hubble.service_type, part, "service", "type") == "LoadBalancer"

    @cached_property
    def dhcp_range(self) -> str:
        """FIRST-LAST that DHCP may give: the configured one, else the largest free run of the bridge."""
        bridge = self.lxd.bridge
        if bridge.dhcp_range:
            return str(bridge.dhcp_range)
        return str(largest_free_range(bridge.network, self.fixed_addresses))

    @property
    def fixed_addresses(self) -> list[IPv4Network]:
        """What DHCP must not give: the gateway, the nodes and the pool."""
        nodes = (node.address for node in self.nodes.values())
        return [*map(IPv4Network, (self.lxd.bridge.gateway, *nodes)), self.bgp.pool]

    @cached_property
    def ssh_public_key(self) -> str:
        """Public half of the SSH key, `TYPE BASE64`."""
        return public_key(self.ssh_private_key)
