"""k3s on the nodes."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_command.remote import Command

from components import remote
from components.address import in_url
from components.cluster_identity import ClusterIdentity, ClusterTokens, Running
from components.fingerprint import fingerprint
from components.node import SNAPSHOTS, ControlPlane, Node
from components.remote import Connection, Script, Servers
from components.turns import Turns


class BucketArgs(TypedDict):
    bucket: str
    endpoint: str
    """HOST or HOST:PORT, over TLS."""
    region: str
    folder: str | None
    keys: Sequence[pulumi.Input[str]]
    """Access key and secret key; secrets."""


class SnapshotArgs(TypedDict):
    schedule: str
    """When, as cron writes it."""
    keep: int
    """How many of each server."""
    on_host: bool
    """Whether servers see a folder of the host for them."""
    s3: BucketArgs | None
    """Where they are copied to."""


class K3sClusterArgs(TypedDict):
    host: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that the API's endpoint dies with, where the stack owns it."""
    servers: Mapping[str, Node]
    """Nodes that run the control plane: an odd number."""
    server_addresses: Mapping[str, str]
    """Address of each, known before it is there."""
    agents: Mapping[str, Node]
    """Nodes that run pods only."""
    version: str
    """k3s release, e.g. `v1.25.6+k3s1`."""
    installer_url: str
    """Where the installer comes from; what follows `#sha256=` it must be."""
    artifact_url: str
    """Folder with a folder for each release (INSTALL_K3S_ARTIFACT_URL, of installers since 2026); empty: GitHub's."""
    cluster_cidr: str
    """Range of the pods."""
    service_cidr: str
    """Range of the ClusterIPs."""
    kube_proxy: bool
    """Whether k3s runs kube-proxy; off where Cilium replaces it."""
    api_address: pulumi.Input[str]
    """Address or name of the API for its users: the host's."""
    api_listen: str
    """Where the host listens for them; `0.0.0.0`: everywhere."""
    gateway: str
    """The host's address on the bridge: the API for nodes, k3s's fixed registration address."""
    api_port: int
    """TCP port at both."""
    timeout_seconds: int
    """How long each node may take."""
    drain_timeout_seconds: int
    """How long a PodDisruptionBudget may hold up a node's drain."""
    agents_at_once: int
    """How many agents are changed at a time."""
    agent_token_generation: int
    """Another number makes another token that agents join with."""
    snapshots: SnapshotArgs | None
    """Those of the servers; None: k3s's own."""
    restore: str
    """Name of the one which a cluster begins with that is started; empty: it begins with nothing."""


def settings(args: K3sClusterArgs) -> dict[str, Any]:
    """What all servers have in common (docs.k3s.io, k3s server). No network of k3s's own, and no servicelb, which would
    give Services addresses of its own."""
    return {
        "flannel-backend": "none",
        "disable-network-policy": True,
        "disable": ["servicelb"],
        "disable-kube-proxy": not args["kube_proxy"],
        "cluster-cidr": args["cluster_cidr"],
        "service-cidr": args["service_cidr"],
        "secrets-encryption": True,
    }


def config(args: K3sClusterArgs, name: str, address: str, api: str, *secrets: str) -> str:
    """config.yaml of node `name` with `address` (docs.k3s.io, Configuration File); JSON is YAML.

    `secrets`: the token that it joins with; of a server also the one that agents do, and the bucket's keys. Who starts
    the cluster and whom servers join it does not say: that is decided where there is no datastore yet (k3s_install.sh),
    and means nothing afterwards.
    """
    its: dict[str, Any] = {"node-name": name, "node-ip": address, "token": secrets[0]}
    common = settings(args)
    if name in args["servers"]:
        its |= {"agent-token": secrets[1], "tls-san": [api, args["gateway"]], **common}
        if snapshots := args["snapshots"]:
            its |= {
                **({"etcd-snapshot-dir": SNAPSHOTS} if snapshots["on_host"] else {}),
                "etcd-snapshot-schedule-cron": snapshots["schedule"],
                "etcd-snapshot-retention": snapshots["keep"],
                **(bucket(snapshots["s3"], *secrets[2:]) if snapshots["s3"] else {}),
            }
    else:
        its["server"] = url(args)
    # An agent asks for the servers' settings at its start, and only then: another text is another start.
    servers = digest(json.dumps(common, sort_keys=True))
    return json.dumps(its, indent=1) + f"\n# k3s {args['version']}, servers with settings {servers}\n"


def bucket(args: BucketArgs, access_key: str, secret_key: str) -> dict[str, Any]:
    """The flags of k3s for it (pkg/cli/cmds/etcd_snapshot.go)."""
    return {
        "etcd-s3": True,
        "etcd-s3-bucket": args["bucket"],
        "etcd-s3-endpoint": args["endpoint"],
        "etcd-s3-region": args["region"],
        **({"etcd-s3-folder": args["folder"]} if args["folder"] else {}),
        "etcd-s3-access-key": access_key,
        "etcd-s3-secret-key": secret_key,
    }


def url(args: K3sClusterArgs) -> str:
    """Of the API, for nodes."""
    return f"https://{args['gateway']}:{args['api_port']}"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stdin(args: K3sClusterArgs, node: str, known: Sequence[str]) -> str:
    """What k3s_install.sh reads on `node`: its password, then config.yaml."""
    address, api, passwords, token, agent_token, authority, *keys = known
    server = node in args["servers"]
    secrets = (token, agent_token, *keys) if server else (full_token(authority, "node", agent_token),)
    return f"{password(passwords, node)}\n{config(args, node, address, api, *secrets)}"


def password(of: str, name: str) -> str:
    """Password by which the cluster knows a node again."""
    return hashlib.sha256(f"{name} {of}".encode()).hexdigest()[:32]


class K3sCluster(pulumi.ComponentResource):
    """A k3s cluster without a network: nodes are NotReady until Cilium runs on them."""

    kubeconfig: pulumi.Output[str]
    """Administrator's kubeconfig for the API through the host; a secret."""
    provider: kubernetes.Provider
    """Kubernetes provider on that kubeconfig."""
    api: pulumi.Output[str]
    """URL of the API."""
    control_plane: ControlPlane
    """The cluster as what runs on it is asked about."""
    joined: pulumi.Output[Sequence[str]]
    """Names of the nodes, known once all have joined."""
    fingerprint: pulumi.Output[str]
    """Another one with every change of k3s on a node; a secret."""

    def __init__(self, name: str, args: K3sClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:K3sCluster", name, None, opts)
        limit = args["timeout_seconds"]
        nodes = {**args["servers"], **args["agents"]}
        first, *others = args["servers"]
        endpoint = remote.api_endpoint(pulumi.get_stack())
        api_address = pulumi.Output.from_input(args["api_address"])
        self.api = api_address.apply(lambda address: f"https://{in_url(address)}:{args['api_port']}")

        def on(machine: pulumi.Resource | None, *after: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(parent=self, deleted_with=machine, depends_on=list(after))

        asked = Servers(args["host"], endpoint)

        # Of a cluster that an earlier version of this program has started; never asked again.
        existing = remote.run(
            f"{name}-token",
            Script("k3s_token.sh"),
            nodes[first].connection,
            pulumi.ResourceOptions.merge(
                on(nodes[first].machine), pulumi.ResourceOptions(ignore_changes=["create", "connection", "logging"])
            ),
            secret_output=True,
        )
        tokens = ClusterTokens(
            f"{name}-tokens",
            existing=existing.stdout,
            agent_generation=args["agent_token_generation"],
            opts=on(args["machine"]),
        )
        keys = args["snapshots"]["s3"]["keys"] if args["snapshots"] and args["snapshots"]["s3"] else ()
        listening = remote.run(
            f"{name}-endpoint",
            Script(
                "k3s_endpoint.sh",
                [
                    endpoint,
                    args["api_listen"],
                    args["gateway"],
                    str(args["api_port"]),
                    *(f"{server}={address}" for server, address in args["server_addresses"].items()),
                ],
                600,
            ),
            args["host"],
            on(args["machine"], nodes[first].machine),  # by which earlier versions have passed the API on
            delete=Script("k3s_endpoint_remove.sh", [endpoint]),
        )

        installs: list[Command] = []
        turns = Turns(args["agents_at_once"], args["host"])

        def join(node: str, *after: pulumi.Resource, authority: pulumi.Output[str] | str = "") -> Command:
            """Install k3s on the node and wait until the cluster knows it."""
            its, role = nodes[node], "server" if node in args["servers"] else "agent"
            prepared = remote.run(f"{node}-mounts", Script("node_prepare.sh"), its.connection, on(its.machine))
            there = replace(asked, without="skip")
            forgotten = remote.run(
                f"{node}-forgotten",
                Script("node_forget.sh", [node, prepared.stdout.apply(lambda text: text.splitlines()[-1])], 300),
                there,
                on(tokens, listening, *after),
            )

            def aside(way: str, file: str, seconds: int, servers: Servers) -> Script:
                """The node leaves or returns: for the router on the host, and for the cluster."""
                script = Script(file, [node, str(seconds)], seconds + 300)
                return servers.asking(script, f"{node}-{way}").within("node_aside.sh", [way, its.address])

            # On the other servers: a node is removed even if it is dead, and before another one of its name is made.
            removed = aside("leave", "node_remove.sh", args["drain_timeout_seconds"], there)
            removal = remote.finalizer(node, removed, args["host"], on(tokens, listening), subject=its.identity)
            # The change of a server may be what makes it answer again; an agent's needs one that does.
            leave = aside(
                "leave",
                "node_drain.sh",
                args["drain_timeout_seconds"],
                replace(asked, without="pass") if role == "server" else asked,
            )
            back = aside("return", "node_joined.sh", limit, asked)

            secrets = (tokens.passwords, tokens.token, tokens.agent_token)
            told = pulumi.Output.all(its.address, api_address, *secrets, authority, *keys).apply(
                partial(stdin, args, node)
            )
            installed = remote.run(
                f"{node}-k3s-{role}",
                Script(
                    "k3s_install.sh",
                    [
                        role,
                        args["version"],
                        args["installer_url"],
                        args["artifact_url"],
                        str(limit),
                        its.connection.user,
                        url(args),
                        forgotten.stdout.apply(str.strip),
                        *([args["restore"]] if role == "server" else []),
                    ],
                    seconds=4 * limit,
                ),
                its.connection,
                pulumi.ResourceOptions.merge(
                    on(its.machine, prepared, removal, forgotten, *after),
                    pulumi.ResourceOptions(hooks=turns.hooks(node, leave, back)),
                ),
                stdin=pulumi.Output.secret(told),
            )
            installs.append(installed)
            # Also when the node has returned already: this is what a run that was interrupted has left to do.
            joined = remote.run(
                f"{node}-joined",
                back,
                args["host"],
                on(tokens, installed),
                again=[its.identity, pulumi.Output.unsecret(told.apply(digest))],
            )
            its.in_cluster.set_result(joined)
            return joined

        members = [join(first)]
        for server in others:  # one after the other: etcd takes one new member at a time
            members.append(join(server, members[-1]))
        last = members[-1]
        again = [nodes[first].identity]
        authority = remote.run(f"{name}-authority", Script("k3s_ca.sh"), asked, on(tokens, last), again=again).stdout
        members += [join(agent, last, authority=authority) for agent in args["agents"]]

        servers = [server.identity for server in args["servers"].values()]
        identity = ClusterIdentity(f"{name}-identity", servers, on(args["machine"], last))
        self.control_plane = ControlPlane(replace(asked, cluster=identity.starter), identity, identity.starter)
        on_server = remote.run(
            f"{name}-kubeconfig",
            Script("k3s_kubeconfig.sh"),
            asked,
            on(identity, last),
            secret_output=True,
            again=[identity.renewed, identity.starter],
        ).stdout
        # Here and not there, so that another port does not make all on the cluster unknown to a preview.
        self.kubeconfig = pulumi.Output.all(on_server, self.api).apply(
            lambda both: re.sub(r"server: .*", f"server: {both[1]}", both[0])
        )
        self.provider = kubernetes.Provider(
            f"{name}-provider",
            kubeconfig=self.kubeconfig,
            cluster_identifier=identity.starter,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            upsert_existing_objects=True,  # what a run that was killed has made is not in its state
            delete_unreachable=True,  # a refresh finds nothing on a cluster that is gone
            opts=pulumi.ResourceOptions(parent=self),
        )
        Running(
            f"{name}-running",
            {
                "k3s.version": args["version"],
                "k3s.clusterCidr": args["cluster_cidr"],
                "k3s.serviceCidr": args["service_cidr"],
            },
            identity.starter,
            on(identity, *members),
        )
        self.joined = pulumi.Output.all(*(member.stdout for member in members)).apply(
            lambda said: [its.split()[0] for its in said]
        )
        self.fingerprint = fingerprint(*(part for its in installs for part in (its.create, its.stdin)))
        self.register_outputs({"api": self.api, "joined": self.joined})


def full_token(authority: str, user: str, secret: str) -> str:
    """k3s's secure form, by which who joins knows the cluster."""
    return f"K10{authority}::{user}:{secret}"
