"""k3s on the nodes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_command.remote import Command

from components import remote
from components.address import in_url
from components.fingerprint import fingerprint
from components.node import Node
from components.remote import Script


class K3sClusterArgs(TypedDict):
    servers: Mapping[str, Node]
    """Nodes that run the control plane: an odd number, the first one starts the cluster."""
    agents: Mapping[str, Node]
    """Nodes that run pods only."""
    version: str
    """k3s release, e.g. `v1.25.6+k3s1`."""
    installer_url: str
    """Where the installer comes from; `https://get.k3s.io` is the official one."""
    artifact_url: str
    """Where the installer gets k3s from (its INSTALL_K3S_ARTIFACT_URL); empty: GitHub's releases."""
    cluster_cidr: str
    """Range of the pods."""
    service_cidr: str
    """Range of the ClusterIPs."""
    kube_proxy: bool
    """Whether k3s runs kube-proxy; off where Cilium replaces it."""
    api_address: pulumi.Input[str]
    """Address or name of the API for its users: the host's."""
    api_port: int
    """TCP port there."""
    timeout_seconds: int
    """How long each node may take."""


def config(args: K3sClusterArgs, name: str, node: str, api: str, *, leader: str = "", token: str = "") -> str:
    """config.yaml of node `name` with address `node` (docs.k3s.io, Configuration File); JSON is YAML.

    Without a `leader` to join it is the server that starts the cluster.
    """
    its: dict[str, Any] = {"node-name": name, "node-ip": node}
    if leader:
        its |= {"server": f"https://{leader}:6443", "token": token}
    if name in args["servers"]:
        # No network of k3s's own, and no servicelb, which would give Services addresses of its own.
        its |= {
            "flannel-backend": "none",
            "disable-network-policy": True,
            "disable": ["servicelb"],
            "disable-kube-proxy": not args["kube_proxy"],
            "cluster-cidr": args["cluster_cidr"],
            "service-cidr": args["service_cidr"],
            "tls-san": [api, node],
            "secrets-encryption": True,
            "cluster-init": len(args["servers"]) > 1 and not leader,
        }
    return json.dumps(its, indent=1) + "\n"


class K3sCluster(pulumi.ComponentResource):
    """A k3s cluster without a network: nodes are NotReady until Cilium runs on them."""

    kubeconfig: pulumi.Output[str]
    """Administrator's kubeconfig for the API through the host; a secret."""
    provider: kubernetes.Provider
    """Kubernetes provider on that kubeconfig; another cluster (its first server made anew) replaces all on it."""
    api: pulumi.Output[str]
    """URL of the API."""
    joined: pulumi.Output[Sequence[str]]
    """Names of the nodes, known once all have joined."""
    fingerprint: pulumi.Output[str]
    """Another one with every change of k3s on a node; a secret."""

    def __init__(self, name: str, args: K3sClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:K3sCluster", name, None, opts)
        limit = args["timeout_seconds"]
        first, leader = next(iter(args["servers"].items()))
        api_address = pulumi.Output.from_input(args["api_address"])
        self.api = api_address.apply(lambda address: f"https://{in_url(address)}:{args['api_port']}")

        def on(node: Node, after: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(parent=self, deleted_with=node.machine, depends_on=list(after))

        installs: list[Command] = []

        def install(node_name: str, stdin: pulumi.Output[str], after: Sequence[pulumi.Resource] = ()) -> Command:
            role, node = (
                ("server", args["servers"][node_name])
                if node_name in args["servers"]
                else ("agent", args["agents"][node_name])
            )
            mounts = remote.run(f"{node_name}-mounts", Script("node_prepare.sh"), node.connection, on(node))
            installed = remote.run(
                f"{node_name}-k3s-{role}",
                Script(
                    "k3s_install.sh",
                    [role, args["version"], args["installer_url"], args["artifact_url"], str(limit)],
                    seconds=3 * limit,
                ),
                node.connection,
                on(node, [mounts, *after]),
                stdin=stdin,
            )
            installs.append(installed)
            return installed

        started = install(
            first, pulumi.Output.all(leader.address, api_address).apply(lambda known: config(args, first, *known))
        )
        leader.in_cluster.set_result(started)
        token = remote.run(
            f"{name}-token", Script("k3s_token.sh"), leader.connection, on(leader, [started]), secret_output=True
        )

        def join(node_name: str, node: Node, after: Sequence[pulumi.Resource] = ()) -> Command:
            known = pulumi.Output.all(node.address, api_address, leader.address, token.stdout)
            stdin: pulumi.Output[str] = known.apply(
                lambda known: config(args, node_name, known[0], known[1], leader=known[2], token=known[3])
            )
            # On the first server: a node is removed even if it is dead, and before another one of its name joins.
            removal = remote.finalizer(
                node_name,
                Script("node_remove.sh", [node_name]),
                leader.connection,
                on(leader, [token]),
                subject=node.identity,
            )
            installed = install(node_name, stdin, [removal, *after])
            joined = remote.run(
                f"{node_name}-joined",
                Script("node_joined.sh", [node_name, str(limit)], limit + 60),
                leader.connection,
                on(leader, [installed]),
                again=[node.identity],
            )
            node.in_cluster.set_result(joined)
            return joined

        members: list[Command] = []
        for node_name, node in args["servers"].items():
            if node_name != first:  # one after the other: etcd takes one new member at a time
                members.append(join(node_name, node, members[-1:]))
        servers = list(members)
        members += [join(node_name, node, servers) for node_name, node in args["agents"].items()]

        self.kubeconfig = remote.run(
            f"{name}-kubeconfig",
            Script("k3s_kubeconfig.sh", [self.api, leader.connection.user]),
            leader.connection,
            on(leader, [started]),
            secret_output=True,
        ).stdout
        self.provider = kubernetes.Provider(
            f"{name}-provider",
            kubeconfig=self.kubeconfig,
            cluster_identifier=leader.identity,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            upsert_existing_objects=True,  # what a run that was killed has made is not in its state
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.joined = pulumi.Output.all(*(member.stdout for member in members)).apply(lambda others: [first, *others])
        self.fingerprint = fingerprint(*(part for its in installs for part in (its.create, its.stdin)))
        self.register_outputs({"api": self.api, "joined": self.joined})
