"""Layer 7 load balancing by Envoy, on Cilium's echo-service example."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components import remote
from components.node import ControlPlane
from components.ownership import OURS, only_ours
from components.remote import Script

NAMESPACE = "l7echo"
# Not the example's `health`: it listens on json-mock's port of the same pod.
COREFILE = """\
.:53 {
    errors
    ready
    log
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}
"""


class L7EchoArgs(TypedDict):
    server: ControlPlane
    """For kubectl."""
    after: Sequence[pulumi.Resource]
    """What must be there for pods to start: the network."""
    rests_on: pulumi.Input[str]
    """Known once Cilium runs; another value checks again."""
    timeout_seconds: int
    """How long the answer may take."""


class L7Echo(pulumi.ComponentResource):
    """A client, two echo pods with a CoreDNS sidecar, and their Service through Envoy (docs.cilium.io, Envoy load
    balancing), in a namespace of their own; asked from the client."""

    answer: pulumi.Output[str]
    """Status line of the answer that the client got through Envoy."""

    def __init__(self, name: str, args: L7EchoArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:L7Echo", name, None, opts)
        server = args["server"]
        child = pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(parent=self, depends_on=args["after"]), only_ours(name, server)
        )
        # Of its own: in another, objects of these names may be somebody's.
        namespace = kubernetes.core.v1.Namespace(
            f"{name}-namespace", metadata={"name": NAMESPACE, "labels": OURS}, opts=child
        )
        child = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[namespace]))
        corefile = kubernetes.core.v1.ConfigMap(
            f"{name}-coredns",
            metadata={"name": "coredns-configmap", "namespace": NAMESPACE, "labels": OURS},
            data={"Corefile": COREFILE},
            opts=child,
        )
        client = kubernetes.apps.v1.Deployment(
            f"{name}-client",
            metadata={"name": "client", "namespace": NAMESPACE, "labels": OURS},
            spec={
                "replicas": 1,
                "selector": {"match_labels": {"kind": "client"}},
                "template": {
                    "metadata": {"labels": {"kind": "client", "name": "client"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "client",
                                "image": "quay.io/cilium/alpine-curl:v1.5.0",
                                "image_pull_policy": "IfNotPresent",
                                "command": ["/bin/ash", "-c", "sleep 10000000"],
                            }
                        ]
                    },
                },
            },
            opts=child,
        )
        echo = kubernetes.apps.v1.Deployment(
            f"{name}-echo",
            metadata={"name": "echo-service", "namespace": NAMESPACE, "labels": OURS},
            spec={
                "replicas": 2,
                "selector": {"match_labels": {"kind": "echo"}},
                "template": {
                    "metadata": {"labels": {"kind": "echo", "name": "echo-service", "other": "echo"}},
                    "spec": {
                        "affinity": {
                            "pod_affinity": {
                                "required_during_scheduling_ignored_during_execution": [
                                    {
                                        "label_selector": {
                                            "match_expressions": [
                                                {"key": "name", "operator": "In", "values": ["client"]}
                                            ]
                                        },
                                        "topology_key": "kubernetes.io/hostname",
                                    }
                                ]
                            }
                        },
                        "containers": [
                            {
                                "name": "echo-service",
                                "image": "quay.io/cilium/json-mock:v1.3.2",
                                "image_pull_policy": "IfNotPresent",
                                "ports": [{"container_port": 8080}],
                                "env": [{"name": "PORT", "value": "8080"}],
                                "readiness_probe": {"exec_": {"command": ["curl", "-sS", "--fail", "localhost:8080"]}},
                            },
                            {
                                "name": "dns-test-server",
                                "image": "docker.io/coredns/coredns:1.9.3",
                                "image_pull_policy": "IfNotPresent",
                                "args": ["-conf", "/etc/coredns/Corefile"],
                                "ports": [{"container_port": 53, "name": "dns-53", "protocol": "UDP"}],
                                "readiness_probe": {"http_get": {"path": "/ready", "port": 8181, "scheme": "HTTP"}},
                                "volume_mounts": [
                                    {"name": "coredns-config-volume", "mount_path": "/etc/coredns", "read_only": True}
                                ],
                            },
                        ],
                        "volumes": [
                            {
                                "name": "coredns-config-volume",
                                "config_map": {
                                    "name": corefile.metadata.name,
                                    "items": [{"key": "Corefile", "path": "Corefile"}],
                                },
                            }
                        ],
                    },
                },
            },
            opts=child,
        )
        service = kubernetes.core.v1.Service(
            f"{name}-service",
            metadata={
                "name": "echo-service",
                "namespace": NAMESPACE,
                "annotations": {"service.cilium.io/lb-l7": "enabled"},
                "labels": {"kind": "echo", **OURS},
            },
            spec={
                "type": "ClusterIP",
                "selector": {"kind": "echo"},
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            },
            opts=child,
        )
        check = remote.run(
            f"{name}-check",
            Script("l7_check.sh", [str(args["timeout_seconds"]), NAMESPACE], 2 * args["timeout_seconds"] + 60),
            server.connection,
            pulumi.ResourceOptions(parent=self, deleted_with=server.machine, depends_on=[client, echo, service]),
            again=[args["rests_on"]],
        )
        self.answer = check.stdout
        self.register_outputs({"answer": self.answer})
