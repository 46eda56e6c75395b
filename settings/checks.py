"""Every check that looks at more than one value. Nothing here needs a network."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from itertools import combinations, count, islice

from settings import chart_values, versions
from settings.keys import PrivateKeyError, public_key
from settings.models import ExistingSettings, LinodeSettings, Settings
from settings.networks import largest_free_range
from settings.problems import Problem

BGP_PORT, DNS_PORT = 179, 53
ADMIN_CIDRS = (
    "the firewall would let nobody in, not even this program. Set the address you come from: "
    "pulumi config set --path 'cilium-bgp:host.adminCidrs[0]' \"$(curl -4fsS https://ifconfig.me)/32\""
)
SECRETS = ("sshPrivateKey", "bgpPassword", "ngrokAuthtoken", "s3AccessKey", "s3SecretKey", "upstreamPasswords")
"""Secret root keys."""
MISSING_SECRETS = {
    "sshPrivateKey": (
        "missing; no command could reach the host or the nodes. Make a key without passphrase and set it: "
        "ssh-keygen -t ed25519 -N '' -f cilium-bgp && pulumi config set --secret cilium-bgp:sshPrivateKey < "
        "cilium-bgp"
    ),
    "ngrokAuthtoken": (
        "missing, and exposure.mode is ngrok; the agent could not log in. Set the one of "
        "https://dashboard.ngrok.com: pulumi config set --secret cilium-bgp:ngrokAuthtoken"
    ),
}
"""What to say when one that is needed is missing."""


def problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with values that are fine one by one."""
    for check in (_host, _networks, _pool, _dhcp_range, _nodes, _node_addresses, _image, _k3s, _bgp, _upstreams):
        yield from check(settings)
    yield from _cilium(settings)
    yield from _hubble(settings)
    yield from chart_values.problems(settings)
    yield from _downloads(settings)
    yield from _exposure(settings)
    yield from _secrets(settings)


def ended(settings: Settings) -> Iterator[str]:
    """What of the configuration works but gets no fixes any more."""
    cilium, kubernetes = versions.minor(settings.cilium.version), versions.minor(settings.k3s.version)
    for key, release, what, its, oldest in (
        ("cilium.version", settings.cilium.version, "Cilium", cilium, versions.FIXED_CILIUM),
        ("k3s.version", settings.k3s.version, "Kubernetes", kubernetes, versions.FIXED_KUBERNETES),
    ):
        if its < oldest:
            yield (
                f"{key}: {release} is {what} {versions.text(its)}, which has ended: nobody mends it any more, security "
                f"included ({what} {versions.text(oldest)} and later are mended, {versions.AS_OF}). "
                "Pulumi.modern.yaml has a pair that is."
            )


def _host(settings: Settings) -> Iterator[Problem]:
    host = settings.host
    if isinstance(host, ExistingSettings):
        yield from _existing_host(host, settings)
        return
    if re.match(r"linode/(?!ubuntu|debian|kali)", host.image):
        yield Problem(
            "host.image",
            f"{host.image} has no apt-get, which LXD, FRR and nftables are installed with; the VM would be made in "
            "vain. Write linode/ubuntu22.04, or a later one.",
        )
    if not host.admin_cidrs:
        yield Problem("host.adminCidrs", f"empty; {ADMIN_CIDRS}")
    elif all(isinstance(network, IPv6Network) for network in host.admin_cidrs):
        yield Problem(
            "host.adminCidrs",
            "IPv6 only; this program reaches the VM by IPv4, and would be locked out of it. Add the IPv4 address that "
            "you come from: curl -4fsS https://ifconfig.me",
        )
    for i, network in enumerate(host.admin_cidrs):
        key = f"host.adminCidrs[{i}]"
        if nobodys := _nobodys(network):
            yield Problem(
                key,
                f"{network} is {nobodys}; Linode sees the address that you have on the internet, and would lock "
                "you out. "
                "Write that one: curl -4fsS https://ifconfig.me",
            )
        elif network.prefixlen < (8 if network.version == 4 else 16) and not host.allow_world:
            everybody = "everybody" if network.prefixlen == 0 else "a good part of the internet"
            yield Problem(
                key,
                f"{network} lets {everybody} try SSH and the Kubernetes API. "
                "Write your own network, or say host.allowWorld: true if you mean it.",
                ("host.allowWorld",),
            )
    if len(host.admin_cidrs) > _ADDRESSES_A_RULE:
        yield Problem(
            "host.adminCidrs",
            f"{len(host.admin_cidrs)} networks; Linode takes {_ADDRESSES_A_RULE} in a rule, and would refuse the "
            "firewall. Write fewer, larger ones.",
        )


_ADDRESSES_A_RULE, _RULES = 255, 25
"""Linode's limits for a firewall (its API's documentation)."""
_NOBODYS = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "your provider's own, shared by its customers (RFC 6598)": ("100.64.0.0/10",),
    "of this machine alone": ("127.0.0.0/8", "::1/128"),
    "of one link alone": ("169.254.0.0/16", "fe80::/10"),
    "no machine's": ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8"),
}


def _nobodys(network: IPv4Network | IPv6Network) -> str:
    """Why nobody on the internet comes from there; empty where somebody may."""
    for why, blocks in _NOBODYS.items():
        for block in map(ip_network, blocks):
            if isinstance(network, IPv4Network) and isinstance(block, IPv4Network) and network.subnet_of(block):
                return why
            if isinstance(network, IPv6Network) and isinstance(block, IPv6Network) and network.subnet_of(block):
                return why
    return ""


def _existing_host(host: ExistingSettings, settings: Settings) -> Iterator[Problem]:
    try:
        address = IPv4Address(host.address)
    except ValueError:
        return
    networks = _networks_of(settings) | {"bgp.pool": settings.bgp.pool}
    for key, network in networks.items():
        if address in network and address != settings.lxd.bridge.gateway:
            yield Problem(
                key,
                f"{network} contains the host's own address {address} (host.address); "
                "the host would route it to a node and be lost. Choose a network that the host is not in.",
                ("host.address", "lxd.bridge.address"),
            )


def _networks_of(settings: Settings) -> dict[str, IPv4Network]:
    return {
        "lxd.bridge.address": settings.lxd.bridge.network,
        "k3s.clusterCidr": settings.k3s.cluster_cidr,
        "k3s.serviceCidr": settings.k3s.service_cidr,
    }


def _networks(settings: Settings) -> Iterator[Problem]:
    networks = _networks_of(settings)
    for (first, network), (second, other) in combinations(networks.items(), 2):
        if network.overlaps(other):
            yield Problem(
                second,
                f"{other} overlaps {first} {network}; packets for one would go to the other. "
                f"Choose another{_unused_network(settings, second)}.",
                (first,),
            )
    bridge, pool = settings.lxd.bridge.network, settings.bgp.pool
    for key, other in islice(networks.items(), 1, None):
        # A pool on the bridge is not to blame for a network that overlaps the bridge.
        if pool.overlaps(other) and not (pool.subnet_of(bridge) and other.overlaps(bridge)):
            yield Problem(
                "bgp.pool",
                f"{pool} overlaps {key} {other}; Kubernetes would give the same addresses to others. "
                f"Choose another{_unused_pool(settings)}.",
                (key,),
            )


def _unused_network(settings: Settings, key: str, prefix: int = 16) -> str:
    """A network for that key that nothing else is in, as the end of a sentence."""
    others = _networks_of(settings) | {"bgp.pool": settings.bgp.pool}
    del others[key]
    firsts = (f"{start}.0.0" for start in (*(f"10.{n}" for n in range(42, 256)), *(f"172.{n}" for n in range(16, 32))))
    blocks = (next(IPv4Network((first, 16)).subnets(new_prefix=max(prefix, 16))) for first in firsts)
    free = (block for block in blocks if not any(block.overlaps(other) for other in others.values()))
    return "".join(f", e.g. {block}" for block in islice(free, 1))


def _unused_pool(settings: Settings) -> str:
    """A network as large as the pool, as the end of a sentence: of the bridge's where that is free, else outside."""
    bridge, prefix = settings.lxd.bridge, settings.bgp.pool.prefixlen
    dhcp = bridge.dhcp_range
    ends = bridge.network.network_address, bridge.network.broadcast_address
    taken = {bridge.gateway, *ends, *(node.address for node in settings.nodes.values())}
    inside = bridge.network.subnets(new_prefix=prefix) if prefix > bridge.network.prefixlen else iter(())
    for block in islice(inside, 4096):
        in_dhcp = dhcp and block.network_address <= dhcp.last and dhcp.first <= block.broadcast_address
        if not in_dhcp and not any(address in block for address in taken):
            return f", e.g. {block}"
    return _unused_network(settings, "bgp.pool", prefix)


def _pool(settings: Settings) -> Iterator[Problem]:
    pool, bridge = settings.bgp.pool, settings.lxd.bridge
    ends = {"network": bridge.network.network_address, "broadcast": bridge.network.broadcast_address}
    fix = f"Choose another{_unused_pool(settings)}."
    on = ("lxd.bridge.address",)
    unusable = pool.is_loopback or pool.is_link_local or pool.is_multicast or pool.network_address.is_unspecified
    if unusable or pool.is_reserved:
        yield Problem("bgp.pool", f"{pool} is not for addresses of machines; the host would drop the routes. {fix}")
    elif bridge.network.subnet_of(pool):
        yield Problem(
            "bgp.pool",
            f"{pool} covers the whole network {bridge.network} of lxd.bridge.address; "
            f"Services would take the addresses of the gateway and the nodes. {fix}",
            on,
        )
    else:
        for name, address in ends.items():
            if address in pool:
                yield Problem(
                    "bgp.pool",
                    f"{pool} contains {address}, the {name} address of {bridge.network} (lxd.bridge.address); "
                    f"a Service that gets it cannot be reached. {fix}",
                    on,
                )
        if bridge.gateway in pool:
            yield Problem(
                "bgp.pool",
                f"{pool} contains the gateway {bridge.gateway} (lxd.bridge.address); "
                f"a Service could take the router's own address. {fix}",
                on,
            )
    services = settings.load_balancers
    if pool.num_addresses < len(services):
        enough = 32 - (len(services) - 1).bit_length()
        yield Problem(
            "bgp.pool",
            f"{pool} has {_plural(pool.num_addresses, 'address')} for {len(services)} Services "
            f"({', '.join(services)}); the last would wait for ever. Choose /{enough} or shorter.",
            ("hubble", "fcdemo.enabled"),
        )


def _plural(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('s') else 's'}"


def _dhcp_range(settings: Settings) -> Iterator[Problem]:
    bridge, pool = settings.lxd.bridge, settings.bgp.pool
    key, found = "lxd.bridge.dhcpRange", bridge.dhcp_range
    free = largest_free_range(bridge.network, settings.fixed_addresses)
    fix = f"Write {free}, or null." if free else "Choose a larger network."
    on = ("lxd.bridge.address", "nodes", "bgp.pool")
    if not found:
        if not free and not bridge.network.subnet_of(pool):
            yield Problem(
                "lxd.bridge.address",
                f"{bridge.address} leaves no address for DHCP beside the gateway, the nodes and bgp.pool; "
                f"LXD would refuse the bridge. {fix}",
                on,
            )
        return
    if found.first not in bridge.network or found.last not in bridge.network:
        yield Problem(
            key, f"{found} is not inside {bridge.network} (lxd.bridge.address); LXD would refuse it. {fix}", on
        )
        return
    if bridge.network.network_address in found or bridge.network.broadcast_address in found:
        yield Problem(
            key,
            f"{found} contains the network or broadcast address of {bridge.network} (lxd.bridge.address); "
            f"an instance that gets it cannot be reached. {fix}",
            on,
        )
    if bridge.gateway in found:
        yield Problem(
            key,
            f"{found} contains the gateway {bridge.gateway} (lxd.bridge.address); "
            f"an instance could take the address of the host. {fix}",
            on,
        )
    if found.first <= pool.broadcast_address and pool.network_address <= found.last:
        yield Problem(
            key,
            f"{found} overlaps bgp.pool {pool}; an instance could take the address of a Service. {fix}",
            on,
        )


def _nodes(settings: Settings) -> Iterator[Problem]:
    servers = len(settings.servers)
    if not servers:
        yield Problem(
            "nodes",
            "no node has role server; there would be no Kubernetes API. "
            "Give one of them role: server, e.g. k3s1: {role: server, address: 10.26.23.11}.",
        )
    elif servers % 2 == 0:
        yield Problem(
            "nodes",
            f"{servers} servers ({', '.join(settings.servers)}); etcd needs a majority, so {servers} bear no more "
            f"failures than {servers - 1}. Make it {servers - 1} or {servers + 1}.",
        )
    host = settings.host
    for name in settings.nodes:
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
            meant = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63]
            meant = meant if meant[:1].isalpha() else f"node-{meant}".rstrip("-")
            yield Problem(
                f"nodes.{name}",
                "not a name for a node: LXD and Kubernetes take 1 to 63 lower-case letters, digits and '-', "
                f"starting with a letter (RFC 1123). Write {meant}.",
            )
        if name == (host.label if isinstance(host, LinodeSettings) else host.address):
            where = "host.label" if isinstance(host, LinodeSettings) else "host.address"
            yield Problem(
                f"nodes.{name}",
                f"also the name of the host ({where}); on either machine it would lead to the wrong one. "
                "Choose another name.",
                (where,),
            )
    cluster = settings.k3s.cluster_cidr
    room = max(0, 2 ** (24 - cluster.prefixlen)) if cluster.prefixlen <= 24 else 0
    if room < len(settings.nodes):
        yield Problem(
            "k3s.clusterCidr",
            f"{cluster} has room for {_plural(room, 'node')} (a /24 each), there are {len(settings.nodes)}; "
            "the others would run no pods. "
            f"Choose a shorter prefix{_unused_network(settings, 'k3s.clusterCidr')}.",
            ("nodes",),
        )


def _node_addresses(settings: Settings) -> Iterator[Problem]:
    bridge, pool = settings.lxd.bridge, settings.bgp.pool
    network, dhcp = bridge.network, bridge.dhcp_range
    free = _free_addresses(settings)
    owners: dict[IPv4Address, str] = {
        bridge.gateway: "the gateway's too (lxd.bridge.address); one of them would not answer",
        network.network_address: f"the network address of {network} (lxd.bridge.address); no machine can have it",
        network.broadcast_address: f"the broadcast address of {network} (lxd.bridge.address); no machine can have it",
    }
    for name, node in settings.nodes.items():
        address = node.address
        if address not in network:
            wrong = f"outside of {network} (lxd.bridge.address); the bridge would not carry it"
        elif address in owners:
            wrong = owners[address]
        elif address in pool and not network.subnet_of(pool):
            wrong = f"in bgp.pool {pool}; Cilium could give the same address to a Service"
        elif dhcp and address in dhcp:
            wrong = f"in lxd.bridge.dhcpRange {dhcp}; DHCP could give it to another instance"
        else:
            wrong = ""
        owners.setdefault(address, f"nodes.{name}'s too; one of them would not answer")
        if wrong:
            on = re.findall(r"lxd\.bridge\.\w+|bgp\.pool", wrong)
            yield Problem(f"nodes.{name}.address", f"{address} is {wrong}. Choose another{next(free, '')}.", tuple(on))


def _free_addresses(settings: Settings) -> Iterator[str]:
    """Addresses for nodes, as ends of a sentence: the first hosts of the bridge that nothing else has."""
    bridge, pool = settings.lxd.bridge, settings.bgp.pool
    taken = {bridge.gateway, *(node.address for node in settings.nodes.values())}
    # Low addresses are where people put routers.
    first = 11 if bridge.network.prefixlen <= 27 else 1
    for address in islice(bridge.network.hosts(), first - 1, 4096):
        in_dhcp = bridge.dhcp_range and address in bridge.dhcp_range
        if not (address in taken or address in pool or in_dhcp):
            yield f", e.g. {address}"


def _k3s(settings: Settings) -> Iterator[Problem]:
    port = settings.k3s.api_port
    taken = _host_ports(settings, "k3s.apiPort")
    if port in taken:
        yield Problem(
            "k3s.apiPort",
            f"{port} is {taken[port]} on the host; the Kubernetes API could not listen there. "
            f"Choose another, e.g. {next(free for free in (6443, 16443) if free not in taken)}.",
            ("host.port",),
        )
    service = settings.k3s.service_cidr
    if not 12 <= service.prefixlen <= 28:
        yield Problem(
            "k3s.serviceCidr",
            f"{service} has {service.num_addresses} addresses; the API server takes networks from /12 to /28. "
            f"Choose one{_unused_network(settings, 'k3s.serviceCidr')}.",
        )
    snapshots = settings.k3s.snapshots
    for name in ("schedule", "keep", "restore"):
        set_here = name in snapshots.model_fields_set and getattr(snapshots, name) is not None
        if set_here and not (snapshots.folder or snapshots.s3):
            yield Problem(
                f"k3s.snapshots.{name}",
                f"{getattr(snapshots, name)} would have no effect: there is no k3s.snapshots.folder, nor s3. "
                "Write one, like /var/backups/cilium-bgp.",
                ("k3s.snapshots.folder", "k3s.snapshots.s3"),
            )


def _host_ports(settings: Settings, but: str) -> dict[int, str]:
    ssh = settings.host.port if isinstance(settings.host, ExistingSettings) else 22
    ports = {
        "host.port": (ssh, "SSH's (host.port)"),
        "k3s.apiPort": (settings.k3s.api_port, "the Kubernetes API's (k3s.apiPort)"),
    }
    dns = {DNS_PORT: "LXD's DNS server's"} if but == "k3s.apiPort" else {}  # a forward there would not meet it
    return {BGP_PORT: "the BGP router's"} | dns | {port: owner for key, (port, owner) in ports.items() if key != but}


def _image(settings: Settings) -> Iterator[Problem]:
    its = settings.lxd
    if its.image.startswith("ubuntu:") and its.login_user != "ubuntu":
        yield Problem(
            "lxd.loginUser",
            f"{its.login_user}, and lxd.image is {its.image}; images of ubuntu: give the SSH key to ubuntu alone, so "
            "no node could be entered. Write ubuntu, or take an image of your own (local:ALIAS).",
            ("lxd.image",),
        )


def _bgp(settings: Settings) -> Iterator[Problem]:
    bgp, given = settings.bgp, settings.bgp.model_fields_set
    if bgp.mode == "configmap":
        if "connect_retry_time_seconds" in given:
            yield Problem(
                "bgp.connectRetryTimeSeconds",
                f"{bgp.connect_retry_time_seconds} would have no effect: configmap mode has its own backoff. "
                "Remove it, or write bgp.mode: control-plane.",
                ("bgp.mode",),
            )
        if bgp.graceful_restart:
            yield Problem(
                "bgp.gracefulRestart",
                "true would have no effect: the speaker of configmap mode cannot do it, and routes go when an agent "
                "restarts. Remove it, or write bgp.mode: control-plane.",
                ("bgp.mode",),
            )
    if not bgp.graceful_restart and "restart_time_seconds" in given:
        yield Problem(
            "bgp.restartTimeSeconds",
            f"{bgp.restart_time_seconds} would have no effect: bgp.gracefulRestart is false. Remove it, or write "
            "bgp.gracefulRestart: true.",
            ("bgp.gracefulRestart",),
        )
    if bgp.hold_time_seconds == 0 and bgp.mode == "control-plane":
        yield Problem(
            "bgp.holdTimeSeconds",
            "0 is refused by CiliumBGPPeerConfig (3 to 65535); the peers would not be made. Write 90.",
            ("bgp.mode",),
        )
    elif 0 < bgp.hold_time_seconds <= bgp.keepalive_time_seconds:
        yield Problem(
            "bgp.keepaliveTimeSeconds",
            f"{bgp.keepalive_time_seconds} is not below bgp.holdTimeSeconds {bgp.hold_time_seconds}; sessions "
            "would be "
            f"dropped between two keepalives. Write {bgp.hold_time_seconds // 3}, a third of it.",
            ("bgp.holdTimeSeconds",),
        )


def _upstreams(settings: Settings) -> Iterator[Problem]:
    bgp, networks = settings.bgp, {**_networks_of(settings), "bgp.pool": settings.bgp.pool}
    owners: dict[object, str] = {}
    for name, its in bgp.upstreams.items():
        key = f"bgp.upstreams.{name}"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", name):
            yield Problem(
                key,
                "not a name that FRR's configuration can hold: up to 40 letters, digits, '-' and '_', a letter first. "
                f"Write {re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-0123456789')[:40] or 'lan'}.",
            )
        for other, where, why in (
            (bgp.peer_asn, "bgp.peerAsn", "the session would be iBGP, by which nothing is passed on that came by iBGP"),
            (bgp.local_asn, "bgp.localAsn", "it would find itself on the way, and refuse that as a loop"),
        ):
            if its.asn == other:
                yield Problem(
                    f"{key}.asn",
                    f"{its.asn} is {where} too; {why} (RFC 4271). Set another localAsn and peerAsn here, e.g. "
                    f"{next(asn for asn in count(64512) if asn not in (its.asn, bgp.peer_asn, bgp.local_asn))}.",
                    (where,),
                )
                break
        inside = next((f"{where} {network}" for where, network in networks.items() if its.address in network), None)
        if inside:
            wrong = f"in {inside}; an upstream is beyond the host"
        elif isinstance(settings.host, ExistingSettings) and str(its.address) == settings.host.address:
            wrong = "host.address too; the host's router is no upstream of its own"
        elif its.address in owners:
            wrong = f"{owners[its.address]}'s too; the router has one session with it"
        else:
            wrong = ""
        owners.setdefault(its.address, key)
        if wrong:
            on = re.findall(r"[a-z0-9]+\.[\w.]+", wrong)
            yield Problem(
                f"{key}.address", f"{its.address} is {wrong}. Write the address that the host reaches it by.", tuple(on)
            )
    if bgp.upstreams and settings.exposure.mode != "bgp":
        yield Problem(
            "bgp.upstreams",
            f"given, and exposure.mode is {settings.exposure.mode}; requests that they send here would be dropped. "
            "Write exposure.mode: bgp, and exposure.cidrs, or remove them.",
            ("exposure.mode",),
        )
    for name, password in settings.upstream_passwords.items():
        if name not in bgp.upstreams:
            known = ", ".join(bgp.upstreams) or "none"
            yield Problem(
                f"upstreamPasswords.{name}",
                f"{name} is no upstream, so nothing would be signed with it. Known: {known}. Remove it: "
                f"pulumi config rm --path cilium-bgp:upstreamPasswords.{name}",
                ("bgp.upstreams",),
            )
        set_it = f"pulumi config set --secret --path cilium-bgp:upstreamPasswords.{name}"
        yield from _password(f"upstreamPasswords.{name}", password, set_it)


def _password(key: str, password: str, set_it: str) -> Iterator[Problem]:
    if len(password.encode()) > 80:
        yield Problem(
            key,
            f"has {len(password.encode())} bytes; TCP MD5 in Linux takes 80, and the router would refuse it. "
            f"Set a shorter one: {set_it}",
        )
    if re.search(r"\s", password):
        yield Problem(
            key,
            "has a blank or a line break in it (the end of a file, perhaps); the other side would not accept it. "
            f"Set it without: {set_it}",
        )


def _cilium(settings: Settings) -> Iterator[Problem]:
    mode, release = settings.bgp.mode, settings.cilium.version
    cilium, kubernetes = versions.minor(release), versions.minor(settings.k3s.version)
    if not versions.has_mode(cilium, mode):
        if mode == "configmap":
            yield Problem(
                "bgp.mode",
                f"configmap exists in Cilium 1.10 to 1.16, cilium.version is {release}; "
                "later charts ignore its values silently, and no session would come up. "
                "Write control-plane, or choose Cilium 1.16.",
                ("cilium.version",),
            )
        else:
            yield Problem(
                "bgp.mode",
                f"control-plane needs Cilium 1.16 or later, cilium.version is {release}; "
                "it does not have CiliumBGPClusterConfig. Write configmap, or choose Cilium 1.18.",
                ("cilium.version",),
            )
    tested = versions.tested(release)
    if tested is None:
        known = ", ".join(
            f"{versions.text(one)}{f'.{its.patch}' if len(ranges) > 1 else ''} with {its}"
            for one, ranges in versions.TESTED_KUBERNETES.items()
            for its in ranges
        )
        yield Problem(
            "cilium.version",
            f"{release} is not among the releases whose tested Kubernetes is known here; an untested pair fails in "
            f"ways that no check finds. Known: {known}. Choose one, or add it to settings/versions.py.",
        )
    elif not tested.oldest <= kubernetes <= tested.newest:
        nearest = max(tested.oldest, min(kubernetes, tested.newest))
        fixes = [f"k3s v{versions.text(nearest)}.x"]
        fitting = versions.tested_with(kubernetes)
        same_mode = [said for one, said in fitting if versions.has_mode(one, mode)]
        if same_mode:
            fixes.append(f"Cilium {same_mode[-1]}")
        elif fitting:
            other = "control-plane" if mode == "configmap" else "configmap"
            fixes.append(f"Cilium {fitting[-1][1]} with bgp.mode {other}")
        yield Problem(
            "cilium.version",
            f"{release} is tested with Kubernetes {tested}, k3s.version is {settings.k3s.version}. "
            f"Choose {', or '.join(fixes)}.",
            ("k3s.version", "bgp.mode"),
        )
    legacy = "bgp" if mode == "control-plane" else "bgpControlPlane"
    if legacy in settings.cilium.values:
        yield Problem(
            f"cilium.values.{legacy}",
            f"belongs to the other mode, bgp.mode is {mode}; two speakers, or silently none, would announce. "
            f"Remove it.",
            ("bgp.mode",),
        )
    replaced = settings.cilium.values.get("kubeProxyReplacement")
    if replaced is not None and (replaced in (True, "true", "strict")) != settings.cilium.kube_proxy_replacement:
        yield Problem(
            "cilium.values.kubeProxyReplacement",
            f"{str(replaced).lower()}, and cilium.kubeProxyReplacement, by which k3s runs with kube-proxy or without, "
            "is not; two of them would answer for Services, or none. Remove it, and write "
            f"cilium.kubeProxyReplacement: {str(not settings.cilium.kube_proxy_replacement).lower()}, if you mean it.",
            ("cilium.kubeProxyReplacement",),
        )
    if settings.l7echo.enabled:
        if settings.cilium.values.get("l7Proxy") is False:
            yield Problem(
                "cilium.values.l7Proxy",
                "false, and l7echo.enabled is true; without the proxy nothing balances layer 7. "
                "Remove it, or write l7echo.enabled: false.",
                ("l7echo.enabled",),
            )
        if not settings.cilium.kube_proxy_replacement:
            yield Problem(
                "l7echo.enabled",
                "true needs Cilium in kube-proxy's place; Envoy would never see the requests. "
                "Write cilium.kubeProxyReplacement: true, or l7echo.enabled: false.",
                ("cilium.kubeProxyReplacement",),
            )
        if cilium < (1, 13):
            yield Problem(
                "l7echo.enabled",
                f"true needs Cilium 1.13 or later, cilium.version is {release}; it has no loadBalancer.l7.backend. "
                "Choose Cilium 1.13, or write l7echo.enabled: false.",
                ("cilium.version",),
            )


def _downloads(settings: Settings) -> Iterator[Problem]:
    its = settings.k3s
    for key, url, allowed in (
        ("k3s.installerUrl", its.installer_url, its.allow_http),
        ("k3s.artifactUrl", its.artifact_url or "", its.allow_http),
        ("cilium.chart", settings.cilium.chart, settings.cilium.allow_http),
    ):
        if url.startswith("http://") and not allowed and "#sha256=" not in url:
            allow = f"{key.partition('.')[0]}.allowHttp"
            yield Problem(
                key,
                f"{url} is not encrypted; whoever is on the way chooses what runs on the nodes. Write https, or say "
                f"{allow}: true if you mean it.",
                (allow,),
            )


def _hubble(settings: Settings) -> Iterator[Problem]:
    hubble = settings.hubble
    yield from _metrics(settings)
    for name in ("relay", "ui"):
        if not hubble.enabled and getattr(hubble, name) and name in hubble.model_fields_set:
            yield Problem(
                f"hubble.{name}",
                "true, and hubble.enabled is false; there would be no flows to show. "
                f"Write hubble.enabled: true, or remove hubble.{name}.",
                ("hubble.enabled",),
            )
    if hubble.enabled and hubble.ui and not hubble.relay:
        yield Problem(
            "hubble.ui",
            "true, and hubble.relay is false; Cilium's chart refuses a UI without relay. "
            "Write hubble.relay: true, or hubble.ui: false.",
            ("hubble.relay", "hubble.enabled"),
        )


def _metrics(settings: Settings) -> Iterator[Problem]:
    names = [metric.partition(":")[0] for metric in settings.hubble.metrics]
    cilium = versions.minor(settings.cilium.version)
    for i, name in enumerate(names):
        if not versions.has_metric(cilium, name):
            known = ", ".join(metric for metric in versions.HUBBLE_METRICS if versions.has_metric(cilium, metric))
            yield Problem(
                f"hubble.metrics[{i}]",
                f"{name} is not a metric of Hubble in Cilium {settings.cilium.version}; the agents would not start. "
                f"Choose from {known}.",
                ("cilium.version",),
            )
    if set(versions.EXCLUSIVE_METRICS) <= set(names):
        first, second = versions.EXCLUSIVE_METRICS
        yield Problem(
            "hubble.metrics",
            f"has both {first} and {second}; they exclude each other, and the agents would not start. Keep one.",
        )


def _exposure(settings: Settings) -> Iterator[Problem]:
    exposure, services = settings.exposure, settings.load_balancers
    of_the_modes = {
        "cidrs": (exposure.cidrs, ("forward", "bgp")),
        "client": (exposure.client, ("bgp",)),
        "listenAddress": (exposure.listen_address, ("forward",)),
        "forwards": (exposure.forwards, ("forward",)),
    }
    for key, (value, modes) in of_the_modes.items():
        if value and exposure.mode not in modes:
            yield Problem(
                f"exposure.{key}",
                f"given, and exposure.mode is {exposure.mode}; it would have no effect. "
                f"Write exposure.mode: {' or '.join(modes)}, or remove {key}.",
                ("exposure.mode",),
            )
    if exposure.mode == "bgp":
        yield from _exposure_by_bgp(settings)
    if exposure.mode != "forward":
        if exposure.mode == "ngrok" and not settings.fcdemo.enabled:
            yield Problem(
                "exposure.mode",
                "ngrok leads to default/fcdemo-service, and fcdemo.enabled is false; visitors would see an error. "
                "Write fcdemo.enabled: true, or exposure.mode: none.",
                ("fcdemo.enabled",),
            )
        return
    if not exposure.forwards:
        yield Problem(
            "exposure.forwards",
            "empty, and exposure.mode is forward; nothing would be forwarded. "
            "Add {service: default/fcdemo-service, servicePort: 80, hostPort: 8080}, or write exposure.mode: none.",
            ("exposure.mode",),
        )
    if isinstance(settings.host, ExistingSettings):
        if exposure.cidrs:
            yield Problem(
                "exposure.cidrs",
                "given, and host.kind is existing; everybody could come in all the same, for its firewall is yours. "
                "Remove cidrs, and let that firewall choose who may come.",
                ("host.kind",),
            )
    elif not exposure.cidrs or all(isinstance(network, IPv6Network) for network in exposure.cidrs):
        yield Problem(
            "exposure.cidrs",
            f"{'IPv6 only' if exposure.cidrs else 'empty'}, and exposure.mode is forward, at the VM's IPv4 address; "
            "the firewall would let nobody in. Add the networks that may come: [0.0.0.0/0] for everybody.",
            ("exposure.mode",),
        )
    for i, network in enumerate(exposure.cidrs):
        if isinstance(settings.host, LinodeSettings) and (nobodys := _nobodys(network)):
            yield Problem(
                f"exposure.cidrs[{i}]",
                f"{network} is {nobodys}; on the internet nobody comes from there. Write their addresses there.",
                ("host.kind",),
            )
    if isinstance(settings.host, LinodeSettings) and len(exposure.forwards) > _RULES - 2:
        yield Problem(
            "exposure.forwards",
            f"{len(exposure.forwards)} ports; Linode takes {_RULES} rules in a firewall, SSH's and the API's among "
            f"them, and would refuse it. Write {_RULES - 2} at most.",
            ("host.kind",),
        )
    yield from _listen_address(settings)
    bridge, pool = settings.lxd.bridge.network, settings.bgp.pool
    if not pool.subnet_of(bridge):
        yield Problem(
            "exposure.mode",
            f"forward, and bgp.pool {pool} is not inside {bridge} (lxd.bridge.address); LXD forwards to addresses of "
            "its bridge only. Choose a pool there, or write exposure.mode: none.",
            ("bgp.pool", "lxd.bridge.address"),
        )
    taken = _host_ports(settings, "exposure")
    for i, forward in enumerate(exposure.forwards):
        key = f"exposure.forwards[{i}]"
        if forward.service not in services:
            yield Problem(
                f"{key}.service",
                f"{forward.service} is not a Service that takes an address of the pool; there would be nothing "
                f"behind the port. Choose from {', '.join(services)}.",
                ("hubble", "fcdemo.enabled"),
            )
        elif forward.service_port not in services[forward.service]:
            ports = " or ".join(map(str, services[forward.service]))
            yield Problem(
                f"{key}.servicePort",
                f"{forward.service_port} is not a port of {forward.service}; nobody would answer. Write {ports}.",
                (f"{key}.service",),
            )
        if forward.host_port in taken:
            yield Problem(
                f"{key}.hostPort",
                f"{forward.host_port} is {taken[forward.host_port]} on the host; "
                "a forward there would cut it off. "
                f"Choose another, e.g. {next(free for free in count(8080) if free not in taken)}.",
                ("host.port", "k3s.apiPort"),
            )
        taken.setdefault(forward.host_port, f"{key}'s")


def _exposure_by_bgp(settings: Settings) -> Iterator[Problem]:
    exposure = settings.exposure
    if not settings.bgp.upstreams:
        yield Problem(
            "bgp.upstreams",
            "empty, and exposure.mode is bgp; nobody beyond the host would learn an address. Add the router of your "
            "network, e.g. lan: {address: 192.168.1.1, asn: 65000}, or write exposure.mode: none.",
            ("exposure.mode",),
        )
    networks = [cidr for cidr in exposure.cidrs if isinstance(cidr, IPv4Network)]
    if not networks:
        yield Problem(
            "exposure.cidrs",
            f"{'IPv6 only' if exposure.cidrs else 'empty'}, and exposure.mode is bgp, with addresses of IPv4; the "
            "host's firewall would let nobody in. Add the networks that may come, e.g. [192.168.1.0/24].",
            ("exposure.mode",),
        )
        return
    if exposure.client is None:
        return
    try:
        address = IPv4Address(exposure.client.address)
    except ValueError:
        return
    if not any(address in network for network in networks):
        yield Problem(
            "exposure.client.address",
            f"{address} is in none of exposure.cidrs; the host's firewall would drop what it asks, and the proof would "
            f"fail. Add {address}/32 to them.",
            ("exposure.cidrs",),
        )


def _listen_address(settings: Settings) -> Iterator[Problem]:
    host, key, listen = settings.host, "exposure.listenAddress", settings.exposure.listen_address
    if isinstance(host, LinodeSettings):
        if listen:
            yield Problem(
                key,
                f"{listen}, and host.kind is linode; the VM has an address of its own, which nobody knows yet. "
                "Remove listenAddress.",
                ("host.kind",),
            )
        return
    try:
        address = listen or IPv4Address(host.address)
    except ValueError:
        yield Problem(
            key,
            f"missing, and host.address is {host.address}; LXD listens at an IPv4 address of the host only. "
            "Write the one that others reach it by: ip -4 address",
            ("host.address",),
        )
        return
    if address.is_loopback or address.is_unspecified:
        what = f"{address}" if listen else f"missing, and host.address is {address}"
        yield Problem(
            key,
            f"{what}; LXD takes a forward there, which then never answers. "
            "Write the address of the host that others reach it by: ip -4 address",
            ("host.address",),
        )


def _secrets(settings: Settings) -> Iterator[Problem]:
    if not settings.ssh_private_key:
        yield Problem("sshPrivateKey", MISSING_SECRETS["sshPrivateKey"])
    else:
        try:
            public_key(settings.ssh_private_key)
        except PrivateKeyError as problem:
            yield Problem(
                "sshPrivateKey", f"{problem}, then pulumi config set --secret cilium-bgp:sshPrivateKey < FILE"
            )
    if settings.bgp_password:
        set_it = "pulumi config set --secret cilium-bgp:bgpPassword"
        yield from _password("bgpPassword", settings.bgp_password, set_it)
    keys = {"s3AccessKey": settings.s3_access_key, "s3SecretKey": settings.s3_secret_key}
    for key, secret in {"ngrokAuthtoken": settings.ngrok_authtoken, **keys}.items():
        if secret and re.search(r"\s", secret):
            yield Problem(
                key,
                "has a blank or a line break in it (the end of a file, perhaps); the other side would not accept it. "
                f"Set it without: pulumi config set --secret cilium-bgp:{key}",
            )
    if settings.exposure.mode == "ngrok" and not settings.ngrok_authtoken:
        yield Problem("ngrokAuthtoken", MISSING_SECRETS["ngrokAuthtoken"], ("exposure.mode",))
    for key, secret in keys.items() if settings.k3s.snapshots.s3 else ():
        if not secret:
            yield Problem(
                key,
                "missing, and k3s.snapshots.s3 is set; k3s could not log in there. Set the one that the service has "
                f"given you: pulumi config set --secret cilium-bgp:{key}",
                ("k3s.snapshots.s3",),
            )
