"""The article's demo behind a LoadBalancer Service."""

from collections.abc import Sequence
from typing import TypedDict, cast

import pulumi
import pulumi_kubernetes as kubernetes

from components.fingerprint import fingerprint
from components.node import ControlPlane
from components.ownership import OURS, only_ours


class FcDemoArgs(TypedDict):
    image: str
    """Container image that serves HTTP on port 3000."""
    replicas: int
    """Number of pods."""
    server: ControlPlane
    """For kubectl."""
    after: Sequence[pulumi.Resource]
    """What must be there for pods to start: the network."""


class FcDemo(pulumi.ComponentResource):
    """Deployment fcdemo3 and Service fcdemo-service, 80 to 3000, in the namespace default."""

    load_balancer_ip: pulumi.Output[str]
    """The Service's address, once Cilium has given it one."""
    fingerprint: pulumi.Output[str]
    """Another one with every change of what answers there."""

    def __init__(self, name: str, args: FcDemoArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:FcDemo", name, None, opts)
        server = args["server"]
        child = pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(parent=self, depends_on=args["after"]), only_ours(name, server)
        )
        labels = {"app": "fcdemo3"}
        spec = {
            "replicas": args["replicas"],
            "selector": {"match_labels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {
                            "name": "fcdemo3",
                            "image": args["image"],
                            # ":latest" alone would ask the registry at every start
                            "image_pull_policy": "IfNotPresent",
                            "ports": [{"container_port": 3000}],
                            "readiness_probe": {"http_get": {"path": "/", "port": 3000}},
                            # Requests come until all nodes have heard that the pod goes.
                            "lifecycle": {"pre_stop": {"exec_": {"command": ["sleep", "5"]}}},
                        }
                    ]
                },
            },
        }
        deployment = kubernetes.apps.v1.Deployment(
            f"{name}-deployment",
            metadata={"name": "fcdemo3", "namespace": "default", "labels": {**labels, **OURS}},
            spec=cast(kubernetes.apps.v1.DeploymentSpecArgsDict, spec),
            opts=child,
        )
        service = kubernetes.core.v1.Service(
            f"{name}-service",
            metadata={"name": "fcdemo-service", "namespace": "default", "labels": {**labels, **OURS}},
            spec={
                "type": "LoadBalancer",
                # the Deployment's own labels, so that the Service comes after its pods
                "selector": deployment.spec.selector.match_labels,
                "ports": [{"name": "http", "port": 80, "target_port": 3000, "protocol": "TCP"}],
            },
            opts=child,
        )
        self.load_balancer_ip = service.status.load_balancer.ingress[0].ip
        self.fingerprint = fingerprint(spec, self.load_balancer_ip)
        self.register_outputs({"loadBalancerIp": self.load_balancer_ip})
