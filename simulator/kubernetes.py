"""The kubernetes provider on a pretend cluster, with the rules of pulumi-kubernetes 4.x that this project meets:
names, what replaces, what is awaited, and how failures look."""

import time
from collections.abc import Iterator
from typing import Any

from simulator import cluster, memory
from simulator.cluster import ClusterError
from standin.serve import (
    UNKNOWN,
    Diff,
    InitError,
    Properties,
    Provider,
    Resource,
    Secret,
    Unknown,
    changes,
    conceal,
    contains,
    reveal,
    unique_name,
)

RELEASE = "kubernetes:helm.sh/v3:Release"
RELEASE_SECONDS = 300
KUBECONFIG = {"kubeconfig", "context", "cluster"}
REPLACED_BY = {"Deployment": (".spec.selector",), "Secret": (".type",), "Service": (".spec.clusterIP",)}
CONTENT = ("data", "binaryData", "stringData")
"""Of ConfigMaps and Secrets."""


class PretendKubernetes(Provider):
    package = "kubernetes"
    poll_seconds = 0.1
    await_seconds = float(memory.setting("AWAIT_SECONDS", "600"))

    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        found = changes(olds, news)
        replaces = {"clusterIdentifier"} if found.get("clusterIdentifier") == "UPDATE" else set[str]()
        if "clusterIdentifier" in found or not news.get("clusterIdentifier"):
            # The official one knows a changed kubeconfig of the same cluster by the cluster's address and certificate.
            replaces |= found.keys() & KUBECONFIG
        return Diff(found, frozenset(replaces))

    @property
    def options(self) -> set[str]:
        """Those that are switched on."""
        return {name for name, value in self.config.items() if reveal(value) in (True, "true")}

    def reach(self) -> None:
        """Errors: ClusterError, the kubeconfig is another cluster's than the one that answers now."""
        authority, its = memory.read("host").get("cluster", {}).get("ca"), reveal(self.config.get("kubeconfig"))
        if authority and isinstance(its, str) and cluster.certificate(authority) not in its:
            raise ClusterError("configured Kubernetes cluster is unreachable: certificate signed by unknown authority")

    def check(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        if resource.type == RELEASE:
            return self.check_release(resource, olds, news)
        meta = dict(reveal(news.get("metadata") or {}))
        if not meta.get("name"):
            old = reveal(olds.get("metadata") or {})
            autonamed = "pulumi.com/autonamed" in (old.get("annotations") or {})
            meta["name"] = old["name"] if autonamed else unique_name(f"{resource.name}-")
            meta["annotations"] = {**(meta.get("annotations") or {}), "pulumi.com/autonamed": "true"}
        return conceal(concealed({**news, "metadata": meta}), news)

    def diff(self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties) -> Diff:
        if resource.type == RELEASE:
            found = changes(old_inputs, news)
            return Diff(found, frozenset(found) & {"name", "namespace"})
        found = changes(with_namespace(old_inputs), with_namespace(news))
        kind = news.get("kind", "")
        rules = [".metadata.name", ".metadata.namespace", *REPLACED_BY.get(kind, ())]
        mutable = f"enable{kind}Mutable" in self.options and not reveal(news.get("immutable"))
        if kind in ("ConfigMap", "Secret") and not mutable:
            rules += [f".{name}" for name in CONTENT]
        replaces = frozenset(p for p in found if p == "metadata" or any(starts_with(f".{p}", rule) for rule in rules))
        annotations = reveal(news["metadata"]).get("annotations") or {}
        same = {"metadata", "metadata.name", "metadata.namespace"}.isdisjoint(found)
        return Diff(
            found, replaces, delete_before_replace=bool(replaces) and same and "pulumi.com/autonamed" not in annotations
        )

    def create(self, resource: Resource, inputs: Properties, preview: bool) -> tuple[str, Properties]:
        create = "upsertExistingObjects" not in self.options
        if preview:
            return "", dry_run(resource, inputs, create=create)
        self.reach()
        if resource.type == RELEASE:
            return release_id(inputs), self.deployed(inputs, install=True)
        try:
            live = cluster.apply(reveal(inputs), create=create)
        except ClusterError as error:
            message = f'resource "{resource.urn}" was not successfully created by the Kubernetes API server: {error}'
            raise ClusterError(message) from error
        message = (
            f'resource "{resource.urn}" was successfully created, but the Kubernetes API server '
            "reported that it failed to fully initialize or become live"
        )
        return object_id(live), self.awaited(resource, inputs, live, message)

    def update(
        self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties, preview: bool
    ) -> Properties:
        if preview:
            return dry_run(resource, news, create=False)
        self.reach()
        if resource.type == RELEASE:
            return self.deployed(news, install=False)
        try:
            live = cluster.apply(reveal(news))
        except ClusterError as error:
            raise ClusterError(f'update of resource "{resource.urn}" failed: {error}') from error
        message = (
            f'the Kubernetes API server reported that "{object_id(live)}" failed to fully initialize or become live'
        )
        return self.awaited(resource, news, live, message)

    def read(self, resource: Resource, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        known = reveal(inputs)
        try:
            self.reach()
        except ClusterError:
            if "deleteUnreachable" not in self.options:
                raise
            return None
        if resource.type == RELEASE:
            stored = cluster.release(known["namespace"], known["name"])
            return (inputs, release_outputs(inputs, stored)) if stored else None
        live = cluster.get(known)
        return (conceal(pruned(known, live), inputs), checkpoint(inputs, live)) if live else None

    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None:
        if resource.type == RELEASE:
            raise ClusterError(f"{resource.name} would be uninstalled: a release goes with its cluster")
        try:
            self.reach()
        except ClusterError:
            if "deleteUnreachable" not in self.options:
                raise
            return
        cluster.delete(reveal(outputs))

    def awaited(self, resource: Resource, inputs: Properties, live: Properties, message: str) -> Properties:
        """The outputs once the object is ready; InitError, with the object as last seen, at the deadline."""
        annotated = (live["metadata"].get("annotations") or {}).get("pulumi.com/timeoutSeconds")
        deadline = time.monotonic() + (resource.timeout or float(annotated or self.await_seconds))
        while missing := list(not_ready(live)):
            if time.monotonic() > deadline:
                reason = f"'{live['metadata']['name']}' timed out waiting to be Ready"
                raise InitError(object_id(live), checkpoint(inputs, live), f"{message}: {reason}", missing)
            self.log(resource, missing[0], ephemeral=True)
            time.sleep(self.poll_seconds)
            live = cluster.get(live) or live
        self.log(resource, "", ephemeral=True)
        return checkpoint(inputs, live)

    def check_release(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        inputs = {key: value for key, value in news.items() if value not in (None, "", False, {}, [])}
        inputs.setdefault("name", olds.get("name") or unique_name(f"{resource.name}-"))
        inputs.setdefault("namespace", "default")
        if not inputs.get("skipAwait"):
            inputs.setdefault("timeout", RELEASE_SECONDS)
        if not contains(inputs, Unknown):
            inputs["version"] = cluster.chart(reveal(inputs))["version"]
        return inputs

    def deployed(self, inputs: Properties, *, install: bool) -> Properties:
        """The outputs of the release that Helm has stored; InitError when it tried and failed."""
        its = reveal(inputs)
        before = cluster.release(its["namespace"], its["name"])
        try:
            cluster.deploy(its, install=install)
        except ClusterError as error:
            # Without a new revision nothing was tried: the name is in use, or another operation is pending.
            stored = cluster.release(its["namespace"], its["name"])
            if not stored or (before and stored["version"] == before["version"]):
                raise
            id_ = release_id(inputs)
            message = (
                f'Helm release "{id_}" {"was created, but " if install else ""}failed to initialize completely. '
                "Use Helm CLI to investigate: failed to become available within allocated timeout. "
                f"Error: Helm Release {id_}: {error}"
            )
            raise InitError(id_, release_outputs(inputs, stored), message) from error
        return release_outputs(inputs, cluster.release(its["namespace"], its["name"]) or {})


def dry_run(resource: Resource, inputs: Properties, *, create: bool) -> Properties:
    """What the server says that `inputs` would become; `inputs` themselves when it cannot say."""
    if resource.type == RELEASE:
        return {**inputs, "status": UNKNOWN, "resourceNames": UNKNOWN, "__inputs": Secret(inputs)}
    if contains(inputs, Unknown):
        return inputs
    try:
        live = cluster.apply(reveal(inputs), create=create, dry_run=True)
    except ClusterError:
        return inputs
    live.pop("status", None)
    return checkpoint(inputs, live)


def not_ready(live: Properties) -> Iterator[str]:
    """What a Deployment or Service still lacks."""
    status = live.get("status") or {}
    match live["kind"]:
        case "Deployment":
            conditions = {c["type"]: c for c in status.get("conditions") or []}
            if status.get("observedGeneration", 0) < live["metadata"]["generation"]:
                yield "Deployment controller has not seen the change"
            if conditions.get("Available", {}).get("status") != "True":
                yield "Minimum number of live Pods was not attained"
        case "Service" if live["spec"].get("type") == "LoadBalancer":
            if not (status.get("loadBalancer") or {}).get("ingress"):
                yield "Service was not allocated an IP address; does your cloud provider support this?"


def release_id(inputs: Properties) -> str:
    return f"{reveal(inputs['namespace'])}/{reveal(inputs['name'])}"


def release_outputs(inputs: Properties, stored: Properties) -> Properties:
    chart = stored["chart"]["metadata"]
    status = {
        "status": stored["info"]["status"],
        "name": stored["name"],
        "namespace": stored["namespace"],
        "revision": stored["version"],
        "chart": chart["name"],
        "version": chart["version"],
        "appVersion": chart["appVersion"],
    }
    return {**inputs, "version": chart["version"], "status": status, "__inputs": Secret(inputs)}


def checkpoint(inputs: Properties, live: Properties) -> Properties:
    """The object as the outputs: the live one, secret where the inputs are, and every Secret's content."""
    return {
        **concealed(conceal(live, inputs)),
        "__inputs": inputs,
        "__initialApiVersion": live["apiVersion"],
        "__fieldManager": "pulumi-kubernetes",
    }


def concealed(its: Properties) -> Properties:
    """A Secret with its content secret; another object as it is."""
    content = CONTENT if its.get("kind") == "Secret" else ()
    return {k: Secret(v) if k in content and not isinstance(v, Secret) else v for k, v in its.items()}


def pruned(inputs: Any, live: Any) -> Any:
    """`live` in the shape of `inputs`: what the program set, as it is now."""
    if isinstance(inputs, dict) and isinstance(live, dict):
        return {key: pruned(value, live[key]) for key, value in inputs.items() if key in live}
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        return [pruned(a, b) for a, b in zip(inputs, live, strict=True)]
    return live


def object_id(live: Properties) -> str:
    meta = live["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def with_namespace(inputs: Properties) -> Properties:
    """The inputs with the namespace that an absent one means."""
    meta = reveal(inputs.get("metadata"))
    if not isinstance(meta, dict) or meta.get("namespace") or not cluster.namespaced(inputs):
        return inputs
    return {**inputs, "metadata": {**meta, "namespace": "default"}}


def starts_with(path: str, rule: str) -> bool:
    """Whether the property at `path` is the one at `rule`, in it, or around it."""
    return (path + ".").replace("[", ".").startswith(rule + ".") or rule.startswith(path + ".")
