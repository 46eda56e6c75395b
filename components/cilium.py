"""Cilium by its Helm chart, with BGP."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

import pulumi
import pulumi_kubernetes as kubernetes

from components import cilium_bgp, remote
from components.cilium_bgp import Bgp, Peer
from components.cluster_identity import Running
from components.fingerprint import fingerprint
from components.node import ControlPlane
from components.ownership import OURS, of_this_cluster, only_ours
from components.remote import Script

NAMESPACE = "kube-system"
RELEASE = "cilium"
CRDS = ("ciliumbgpclusterconfigs", "ciliumbgppeerconfigs", "ciliumbgpadvertisements", "ciliumloadbalancerippools")


class HubbleValues(TypedDict):
    """What of Hubble the chart installs."""

    enabled: bool
    relay: bool
    ui: bool
    service_type: str
    """Of hubble-relay and hubble-ui: LoadBalancer, or ClusterIP."""
    metrics: Sequence[str]
    """Hubble's metrics, e.g. `dns`."""


class CiliumArgs(TypedDict):
    version: str
    """Chart and image version, e.g. `1.13.0`."""
    chart: str
    """Chart repository (`https://…`), OCI address (`oci://…`), or path of a chart."""
    mode: Literal["configmap", "control-plane"]
    """How Cilium is told of BGP."""
    bgp: Bgp
    hubble: HubbleValues
    cluster_cidr: str
    """Range of the pods; Cilium's own default would contain the bridge."""
    kube_proxy_replacement: bool
    envoy: bool
    """Whether Services may ask for layer 7 load balancing."""
    values: Mapping[str, Any]
    """Further chart values; they win."""
    values_secret: bool
    """Whether there are secrets in them."""
    nodes: int
    """How many nodes there are to run on."""
    server: ControlPlane
    """For kubectl."""
    joined: pulumi.Input[Sequence[str]]
    """Names of the nodes, which must all become Ready."""
    again: Sequence[pulumi.Input[str]]
    """When one of these changes, it is awaited anew: a node that was made anew has to become Ready too."""
    timeout_seconds: int
    """How long until all of it runs."""


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Helm's rule: objects are merged, all else is replaced."""
    both = {
        key: merged(below[key], above[key])
        for key in above
        if isinstance(below.get(key), Mapping) and isinstance(above[key], Mapping)
    }
    return {**below, **above, **both}


def chart_values(args: CiliumArgs, annotations: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
    """Values for the chart's `args["version"]`: the article's, the pod range, and what the mode needs."""
    bgp, hubble = args["bgp"], args["hubble"]
    values: dict[str, Any]
    # The chart's two exclude each other from one node.
    operator: dict[str, Any] = {"rollOutPods": True, "replicas": min(2, args["nodes"])}
    if args["mode"] == "configmap":
        announce = {"loadbalancerIP": True, "podCIDR": bgp["announce_pod_cidr"]}
        values = {"bgp": {"enabled": True, "announce": announce}, "podAnnotations": annotations}
        operator["podAnnotations"] = annotations
    else:
        values = {"bgpControlPlane": {"enabled": True}}
    values |= {
        "operator": operator,
        # With the chart's own checksums a changed setting reaches the agents, and what is beside them.
        "rollOutCiliumPods": True,
        "sctp": {"enabled": True},
        "ipam": {"operator": {"clusterPoolIPv4PodCIDRList": [args["cluster_cidr"]]}},
        "hubble": {
            "enabled": hubble["enabled"],
            "metrics": {"enabled": list(hubble["metrics"])},
            "relay": {"enabled": hubble["relay"], "rollOutPods": True, "service": {"type": hubble["service_type"]}},
            "ui": {"enabled": hubble["ui"], "rollOutPods": True, "service": {"type": hubble["service_type"]}},
        },
    }
    if cilium_bgp.minor(args["version"]) >= (1, 14):
        values["envoy"] = {"rollOutPods": True}
    if args["kube_proxy_replacement"]:
        # 1.13 has no booleans here. On every k3s node the API answers on 127.0.0.1:6444.
        values["kubeProxyReplacement"] = "strict" if cilium_bgp.minor(args["version"]) < (1, 14) else True
        values |= {"k8sServiceHost": "127.0.0.1", "k8sServicePort": 6444}
    if args["envoy"]:
        values["loadBalancer"] = {"l7": {"backend": "envoy"}}
    return merged(values, args["values"])


def workloads(version: str, values: Mapping[str, Any]) -> list[str]:
    """What the chart runs with these values, as kubectl names it."""

    def value(default: Any, *path: str) -> Any:
        found: Any = values
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return default if found is None else found

    hubble = value(True, "hubble", "enabled")
    # From 1.16 on Envoy has pods of its own (the chart's envoyDaemonSetEnabled).
    own = min(cilium_bgp.minor(version), cilium_bgp.minor(value("1.16", "upgradeCompatibility"))) >= (1, 16)
    runs = {
        "daemonset/cilium": value(True, "agent"),
        "deployment/cilium-operator": value(True, "operator", "enabled"),
        "daemonset/cilium-envoy": value(True, "l7Proxy") and value(own, "envoy", "enabled"),
        "deployment/hubble-relay": hubble and value(False, "hubble", "relay", "enabled"),
        "deployment/hubble-ui": (hubble or value(False, "hubble", "ui", "standalone", "enabled"))
        and value(False, "hubble", "ui", "enabled"),
    }
    return [workload for workload, on in runs.items() if on]


def chart_source(chart: str) -> dict[str, Any]:
    """Where the release takes the chart from."""
    if chart.startswith(("http://", "https://")):
        return {"chart": "cilium", "repository_opts": kubernetes.helm.v3.RepositoryOptsArgs(repo=chart)}
    return {"chart": chart}


class Cilium(pulumi.ComponentResource):
    """The release, its BGP configuration before (or, in control-plane mode, after) it, and the wait until it runs.

    The release itself does not wait: it would wait for addresses of a pool that only a running operator can take.
    """

    ready: pulumi.Output[str]
    """Known once every node is Ready and all that the chart runs does so with the present configuration."""
    fingerprint: pulumi.Output[str]
    """Known then too; another one with every change of Cilium, of its BGP objects, and of what it was awaited for. A
    secret."""

    def __init__(self, name: str, args: CiliumArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Cilium", name, None, opts)
        server = args["server"]
        seconds = str(args["timeout_seconds"])
        bgp = args["bgp"]

        def child(*after: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(parent=self, deleted_with=server.machine, depends_on=list(after))

        annotations: dict[str, pulumi.Input[str]] = {}
        told: list[pulumi.Input[Any]] = [bgp["password"]]
        before: list[pulumi.Resource] = []
        if args["mode"] == "configmap":
            config = pulumi.Output.all(
                peer_asn=bgp["peer_asn"], peer_address=bgp["peer_address"], password=bgp["password"]
            ).apply(lambda peer: cilium_bgp.metallb_config(bgp, cast(Peer, peer)))
            annotations[f"{cilium_bgp.NAME}/bgp-config"] = pulumi.Output.unsecret(config.apply(cilium_bgp.checksum))
            bgp_config = kubernetes.core.v1.ConfigMap(
                f"{name}-bgp-config",
                metadata={"name": "bgp-config", "namespace": NAMESPACE, "labels": OURS},
                data={"config.yaml": config},
                opts=pulumi.ResourceOptions.merge(pulumi.ResourceOptions(parent=self), only_ours(name, server)),
            )
            told.append(config)
            before.append(bgp_config)  # agents and operator mount it: without it they never start

        def forget(before: str) -> pulumi.ResourceHook:
            forgetting = f"{name}-before-{before}"

            async def forget(_: pulumi.ResourceHookArgs) -> None:
                script = Script("helm_forget.sh", [NAMESPACE, RELEASE, before], 60)
                await remote.run_now(forgetting, script, server.connection)

            return pulumi.ResourceHook(forgetting, forget)

        # Helm refuses a release whose last operation was killed (pulumi/pulumi-kubernetes#2054), and one that is there
        # although the state knows nothing of it, for ever.
        hooks = pulumi.ResourceHookBinding(before_create=[forget("create")], before_update=[forget("update")])
        values = chart_values(args, annotations)
        release = kubernetes.helm.v3.Release(
            f"{name}-release",
            kubernetes.helm.v3.ReleaseArgs(
                name=RELEASE,
                namespace=NAMESPACE,
                version=args["version"],
                values=pulumi.Output.secret(values) if args["values_secret"] else values,
                skip_await=True,
                timeout=args["timeout_seconds"],
                **chart_source(args["chart"]),
            ),
            opts=pulumi.ResourceOptions.merge(
                pulumi.ResourceOptions(parent=self, depends_on=before, hooks=hooks), of_this_cluster(server)
            ),
        )
        after = [] if args["mode"] == "configmap" else self._control_plane(name, args, release, told)

        running = workloads(args["version"], values)
        revision = release.status.apply(lambda status: str(status.revision))
        nodes = pulumi.Output.from_input(args["joined"]).apply(" ".join)
        ready = remote.run(
            f"{name}-ready",
            Script("cilium_ready.sh", [seconds, revision, nodes, *running], args["timeout_seconds"] + 120),
            server.connection,
            child(*after),
            again=args["again"],
        )
        self.ready = ready.stdout
        self.fingerprint = fingerprint(
            ready.create, ready.stdin, self.ready, args["version"], args["chart"], values, *told
        )
        Running(f"{name}-running", {"cilium.version": args["version"]}, server.identity, child(ready))
        self.register_outputs({"ready": self.ready})

    def _control_plane(
        self, name: str, args: CiliumArgs, release: pulumi.Resource, told: list[pulumi.Input[Any]]
    ) -> list[pulumi.Resource]:
        """The BGP objects; their specs are added to `told`."""
        bgp, server = args["bgp"], args["server"]
        api_version = cilium_bgp.api_version(args["version"])
        ours = only_ours(name, server)

        # The operator registers the kinds some time after it has started; the release knows nothing of it.
        kinds = remote.run(
            f"{name}-crds",
            Script(
                "crds_established.sh",
                [str(args["timeout_seconds"]), api_version, *CRDS],
                len(CRDS) * args["timeout_seconds"] + 60,
            ),
            server.connection,
            pulumi.ResourceOptions(parent=self, deleted_with=server.machine, depends_on=[release]),
            again=[args["version"]],
        )

        def custom(kind: str, spec: dict[str, Any], *after: pulumi.Resource) -> pulumi.Resource:
            told.append(spec)
            # The type holds the API version, the object is the same: as another resource it would be taken over, and
            # then deleted as what it was before.
            aliases = [pulumi.Alias(type_=f"kubernetes:{version}:{kind}") for version in cilium_bgp.API_VERSIONS]
            return kubernetes.apiextensions.CustomResource(
                f"{name}-{kind.lower()}",
                api_version=api_version,
                kind=kind,
                metadata={"name": cilium_bgp.NAME, "labels": {"advertise": cilium_bgp.NAME, **OURS}},
                spec=spec,
                opts=pulumi.ResourceOptions.merge(
                    pulumi.ResourceOptions(parent=self, depends_on=[kinds, *after], aliases=aliases), ours
                ),
            )

        parts: list[pulumi.Resource] = [
            custom("CiliumLoadBalancerIPPool", cilium_bgp.ip_pool(bgp)),
            custom("CiliumBGPAdvertisement", cilium_bgp.advertisement(bgp)),
            custom("CiliumBGPPeerConfig", cilium_bgp.peer_config(bgp)),
            kubernetes.core.v1.Secret(
                f"{name}-bgp-auth",
                metadata={"name": f"{cilium_bgp.NAME}-auth", "namespace": NAMESPACE, "labels": OURS},
                string_data={"password": bgp["password"]},
                opts=pulumi.ResourceOptions.merge(pulumi.ResourceOptions(parent=self), ours),
            ),
        ]
        # Last, because agents dial as soon as it is there, with an empty password if the secret is not.
        return [*parts, custom("CiliumBGPClusterConfig", cilium_bgp.cluster_config(bgp), *parts)]
