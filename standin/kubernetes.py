"""The kubernetes provider of a real API server, by kubectl and helm, as pulumi-kubernetes 4.x does it.

`Kubernetes` has the rules (names, replacement, what is awaited and how failures look); a `Cluster` does the work.
"""

import base64
import binascii
import contextlib
import gzip
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from standin.serve import (
    UNKNOWN,
    CheckError,
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
FIELD_MANAGER = "pulumi-kubernetes"
RELEASE_SECONDS = 300
# Outputs that are not the object's own.
BOOKKEEPING = ("__inputs", "__initialApiVersion", "__fieldManager")
REPLACED_BY = {
    "Deployment": (".spec.selector",),
    "DaemonSet": (".spec.selector",),
    "StatefulSet": (".spec.selector", ".spec.serviceName", ".spec.volumeClaimTemplates", ".spec.podManagementPolicy"),
    "Service": (".spec.clusterIP",),
    "Job": (".spec.selector", ".spec.template", ".spec.completions", ".spec.parallelism"),
    "RoleBinding": (".roleRef",),
    "ClusterRoleBinding": (".roleRef",),
    "StorageClass": (".parameters", ".provisioner"),
}


class ClusterError(Exception):
    """What kubectl or helm said."""


class Cluster(Protocol):
    """What the rules need of a cluster. Objects are as `kubectl get -o json` shows them."""

    def reachable(self) -> None:
        """Raises ClusterError with the reason if the API server does not answer."""

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Properties | None: ...

    def create(self, manifest: Properties, dry_run: bool) -> Properties: ...

    def apply(self, manifest: Properties, dry_run: bool) -> Properties: ...

    def delete(self, manifest: Properties, propagation: str, seconds: float) -> None: ...

    def wait(self, manifest: Properties, condition: str, seconds: float) -> None: ...

    def chart(self, release: Properties) -> Properties:
        """The chart's metadata: name, version, appVersion."""

    def release(self, namespace: str, name: str) -> Properties | None:
        """The newest revision as helm stores it: info.status, chart.metadata, config, manifest, version."""

    def install(self, release: Properties) -> None: ...

    def upgrade(self, release: Properties) -> None: ...

    def uninstall(self, release: Properties) -> None: ...

    def close(self) -> None: ...


class Kubectl:
    """A cluster by the programs kubectl and helm, from PATH or the repository's .cache/bin."""

    def __init__(self, kubeconfig: str, context: str | None = None) -> None:
        """`kubeconfig` is its content or the path of a file; empty means what kubectl itself would use."""
        self.directory = tempfile.TemporaryDirectory(prefix="kubeconfig-")
        self.environment = dict(os.environ)
        cache = Path(__file__).parent.parent / ".cache"
        self.environment["PATH"] += f":{cache / 'bin'}:{cache / 'lab' / 'bin'}"
        self.context = context
        if kubeconfig and not Path(kubeconfig[:255].splitlines()[0]).is_file():
            file = Path(self.directory.name) / "kubeconfig"
            file.touch(mode=0o600)
            file.write_text(kubeconfig)
            kubeconfig = str(file)
        if kubeconfig:
            self.environment["KUBECONFIG"] = kubeconfig

    def run(self, program: str, *arguments: str, stdin: Any = None, seconds: float = 60) -> str:
        """The program's standard output; ClusterError if it fails or takes longer than `seconds`."""
        found = shutil.which(program, path=self.environment["PATH"])
        if not found:
            raise ClusterError(f"{program} is neither on PATH nor in .cache/bin: install it")
        context = ["--kube-context" if program == "helm" else "--context", self.context] if self.context else []
        try:
            done = subprocess.run(
                [found, *arguments, *context],
                input=None if stdin is None else json.dumps(stdin),
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                env=self.environment,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{program} {arguments[0]} did not end within {seconds:.0f} s") from error
        if done.returncode:
            said = done.stderr.strip()
            for prefix in ("Error from server ", "Error: ", "INSTALLATION FAILED: ", "UPGRADE FAILED: "):
                said = said.removeprefix(prefix)
            raise ClusterError(said)
        return done.stdout

    def kubectl(self, *arguments: str, stdin: Any = None, seconds: float = 60) -> Any:
        return json.loads(self.run("kubectl", *arguments, "-o", "json", stdin=stdin, seconds=seconds) or "null")

    def reachable(self) -> None:
        self.run("kubectl", "get", "--raw", "/version", "--request-timeout=10s")

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Properties | None:
        try:
            found: Properties | None = self.kubectl(
                "get", full_kind(api_version, kind), name, "--ignore-not-found", *namespaced(namespace)
            )
        except ClusterError as error:
            # A custom resource went with its definition.
            if "doesn't have a resource type" in str(error) or "no matches for kind" in str(error):
                return None
            raise
        return found

    def create(self, manifest: Properties, dry_run: bool) -> Properties:
        # The server refuses what exists already; applying afterwards makes this field manager the owner.
        created: Properties = self.kubectl("create", "--dry-run=server", "--validate=warn", "-f", "-", stdin=manifest)
        return created if dry_run else self.apply(manifest, dry_run=False)

    def apply(self, manifest: Properties, dry_run: bool) -> Properties:
        mode = ["--dry-run=server"] if dry_run else []
        manager = f"--field-manager={FIELD_MANAGER}"
        applied: Properties = self.kubectl(
            "apply", "--server-side", manager, "--validate=warn", *mode, "-f", "-", stdin=manifest
        )
        return applied

    def delete(self, manifest: Properties, propagation: str, seconds: float) -> None:
        meta = manifest["metadata"]
        kind = full_kind(manifest["apiVersion"], manifest["kind"])
        options = [f"--cascade={propagation}", "--ignore-not-found", "--wait", f"--timeout={seconds:.0f}s"]
        options += namespaced(meta.get("namespace"))
        try:
            self.run("kubectl", "delete", kind, meta["name"], *options, seconds=seconds + 30)
        except ClusterError as error:
            if "doesn't have a resource type" not in str(error):
                raise

    def wait(self, manifest: Properties, condition: str, seconds: float) -> None:
        meta = manifest["metadata"]
        kind = full_kind(manifest["apiVersion"], manifest["kind"])
        options = [f"--for={condition}", f"--timeout={seconds:.0f}s", *namespaced(meta.get("namespace"))]
        self.run("kubectl", "wait", f"{kind}/{meta['name']}", *options, seconds=seconds + 30)

    def chart(self, release: Properties) -> Properties:
        shown = self.run("helm", "show", "chart", *chart_options(release))
        # The metadata are YAML of which only these plain lines are needed.
        pairs = (line.split(":", 1) for line in shown.splitlines() if line[:1].isalpha() and ":" in line)
        return {key: value.strip().strip("\"'") for key, value in pairs if key in ("name", "version", "appVersion")}

    def release(self, namespace: str, name: str) -> Properties | None:
        stored = self.kubectl("get", "secrets", f"--selector=owner=helm,name={name}", *namespaced(namespace))["items"]
        if not stored:
            return None
        newest = max(stored, key=lambda item: int(item["metadata"]["labels"]["version"]))
        packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
        unpacked: Properties = json.loads(gzip.decompress(packed))
        return unpacked

    def install(self, release: Properties) -> None:
        options = ["--create-namespace"] if release.get("createNamespace") else []
        options += ["--skip-crds"] if release.get("skipCrds") else []
        options += ["--replace"] if release.get("replace") else []
        self.helm("install", release, options)

    def upgrade(self, release: Properties) -> None:
        options = ["--reset-values"] if release.get("resetValues") else []
        options += ["--reuse-values"] if release.get("reuseValues") else []
        options += ["--cleanup-on-fail"] if release.get("cleanupOnFail") else []
        options += ["--force"] if release.get("forceUpdate") else []
        self.helm("upgrade", release, [*options, f"--history-max={release.get('maxHistory', 0)}"])

    def helm(self, verb: str, release: Properties, options: list[str]) -> None:
        seconds = release.get("timeout") or RELEASE_SECONDS
        options = [*options, *namespaced(release["namespace"]), f"--timeout={seconds}s"]
        options += ["--wait"] if not release.get("skipAwait") else []
        options += ["--atomic"] if release.get("atomic") else []
        options += ["--wait-for-jobs"] if release.get("waitForJobs") and not release.get("skipAwait") else []
        options += ["--description", release["description"]] if release.get("description") else []
        options += ["--dependency-update"] if release.get("dependencyUpdate") else []
        values = release.get("values") or {}
        arguments = [release["name"], *chart_options(release), *options, "-f", "-"]
        self.run("helm", verb, *arguments, stdin=values, seconds=2 * seconds + 60)

    def uninstall(self, release: Properties) -> None:
        seconds = release.get("timeout") or RELEASE_SECONDS
        awaited = ["--wait", f"--timeout={seconds}s"] if release.get("atomic") or not release.get("skipAwait") else []
        self.run(
            "helm", "uninstall", release["name"], *namespaced(release["namespace"]), *awaited, seconds=seconds + 60
        )

    def close(self) -> None:
        self.directory.cleanup()


def full_kind(api_version: str, kind: str) -> str:
    """The form that kubectl finds one kind by: Deployment.v1.apps, or ConfigMap for the core group."""
    group, _, version = api_version.rpartition("/")
    return f"{kind}.{version}.{group}" if group else kind


def namespaced(namespace: str | None) -> list[str]:
    return [f"--namespace={namespace}"] if namespace else []


def chart_options(release: Properties) -> list[str]:
    options = [release["chart"]]
    options += [f"--version={release['version']}"] if release.get("version") else []
    repository = release.get("repositoryOpts") or {}
    options += [f"--repo={repository['repo']}"] if repository.get("repo") else []
    options += [f"--ca-file={repository['caFile']}"] if repository.get("caFile") else []
    return [*options, *(["--devel"] if release.get("devel") else [])]


class Kubernetes(Provider):
    package = "kubernetes"
    poll_seconds = 1.0
    await_seconds = 600.0

    def cluster_of(self, config: Properties) -> Cluster:
        return Kubectl(config.get("kubeconfig") or "", config.get("context"))

    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        found = changes(olds, news)
        same_cluster = reveal(news.get("clusterIdentifier"))
        if same_cluster and same_cluster == reveal(olds.get("clusterIdentifier")):
            return Diff(found)
        if {"kubeconfig", "context", "cluster"} & set(found) or "clusterIdentifier" in found:
            # The official one replaces only if the active cluster's address or certificate changed.
            return Diff(found, frozenset(found) & {"kubeconfig", "context", "cluster", "clusterIdentifier"})
        return Diff(found)

    def configure(self, config: Properties) -> None:
        self.config = {key: parsed(reveal(value)) for key, value in config.items()}
        kubeconfig = reveal(config.get("kubeconfig"))
        self.config["kubeconfig"] = kubeconfig if isinstance(kubeconfig, str) else json.dumps(kubeconfig or "")
        self.cluster = self.cluster_of({**self.config, "kubeconfig": kubeconfig})

    def close(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.close()

    def check(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        if resource.type == RELEASE:
            return self.check_release(resource, olds, news)
        inputs = dict(news)
        meta = inputs["metadata"] = dict(reveal(inputs.get("metadata") or {}))
        if not meta.get("name") and not meta.get("generateName"):
            old = reveal(olds.get("metadata") or {})
            autonamed = "pulumi.com/autonamed" in (old.get("annotations") or {})
            meta["name"] = old["name"] if autonamed else unique_name(f"{resource.name}-")
            meta["annotations"] = {**(meta.get("annotations") or {}), "pulumi.com/autonamed": "true"}
        if not meta.get("namespace") and (default := self.config.get("namespace")) and is_namespaced(inputs):
            meta["namespace"] = default
        if inputs.get("kind") == "Secret":
            inputs |= {k: concealed(inputs[k]) for k in ("data", "stringData") if k in inputs}
        return conceal(inputs, news)

    def diff(self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties) -> Diff:
        found = changes(with_namespace(old_inputs), with_namespace(news))
        if resource.type == RELEASE:
            return Diff(found, frozenset(found) & {"name", "namespace"})
        kind = news.get("kind", "")
        rules = [".metadata.name", ".metadata.namespace", *REPLACED_BY.get(kind, ())]
        immutable = reveal(news.get("immutable")) is True
        if kind in ("ConfigMap", "Secret") and (immutable or not self.config.get(f"enable{kind}Mutable")):
            rules += [".data", ".binaryData" if kind == "ConfigMap" else ".stringData", ".type"]
        replaces = frozenset(p for p in found if any(starts_with(f".{p}", rule) for rule in rules) or p == "metadata")
        old, new = reveal(outputs.get("metadata") or {}), reveal(news["metadata"])
        annotations = new.get("annotations") or {}
        same = old.get("name") == new.get("name") and "pulumi.com/autonamed" not in annotations
        same = same and (old.get("namespace") or "default") == (new.get("namespace") or "default")
        return Diff(found, replaces, delete_before_replace=bool(replaces) and same)

    def create(self, resource: Resource, inputs: Properties, preview: bool) -> tuple[str, Properties]:
        if resource.type == RELEASE:
            return self.create_release(inputs, preview)
        manifest = reveal(inputs)
        create = self.cluster.apply if self.config.get("upsertExistingObjects") else self.cluster.create
        if preview:
            return "", self.dry_run(create, inputs)
        self.reachable()
        try:
            live = self.retried(resource, lambda: create(manifest, dry_run=False))
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
        if resource.type == RELEASE:
            return self.update_release(outputs, news, preview)
        if preview:
            return self.dry_run(self.cluster.apply, news)
        self.reachable()
        try:
            live = self.cluster.apply(reveal(news), dry_run=False)
        except ClusterError as error:
            raise ClusterError(f'update of resource "{resource.urn}" failed: {error}') from error
        message = (
            f'the Kubernetes API server reported that "{object_id(live)}" failed to fully initialize or become live'
        )
        return self.awaited(resource, news, live, message)

    def read(self, resource: Resource, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        try:
            self.reachable()
        except ClusterError as error:
            if self.unreachable(resource, error, "deleteUnreachable"):
                return None
            if self.unreachable(resource, error, "skipUpdateUnreachable"):
                return inputs, outputs
            raise
        if resource.type == RELEASE:
            return self.read_release(inputs, outputs)
        namespace, _, name = resource.id.rpartition("/")
        api_version, kind = kind_of(resource, reveal(inputs) or reveal(outputs))
        live = self.cluster.get(api_version, kind, namespace, name)
        if live is None:
            return None
        known = inputs or {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
        return conceal(pruned(reveal(known), live), inputs), checkpoint(known, live)

    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None:
        try:
            self.reachable()
        except ClusterError as error:
            if self.unreachable(resource, error, "deleteUnreachable"):
                return
            raise
        if resource.type == RELEASE:
            self.cluster.uninstall(reveal(outputs))
            return
        live = reveal(outputs)
        annotations = live["metadata"].get("annotations") or {}
        propagation = annotations.get("pulumi.com/deletionPropagationPolicy", "foreground").lower()
        self.cluster.delete(live, propagation, self.seconds(resource, live))

    def reachable(self) -> None:
        try:
            self.cluster.reachable()
        except ClusterError as error:
            raise ClusterError(f"configured Kubernetes cluster is unreachable: {error}") from error

    def unreachable(self, resource: Resource, error: ClusterError, option: str) -> bool:
        """Whether the provider's `option` makes an unreachable cluster a warning."""
        name = {"deleteUnreachable": "DELETE", "skipUpdateUnreachable": "SKIP_UPDATE"}[option]
        if not (self.config.get(option) or os.environ.get(f"PULUMI_K8S_{name}_UNREACHABLE") == "true"):
            return False
        self.log(resource, str(error), "WARNING")
        return True

    def dry_run(self, operation: Callable[[Properties, bool], Properties], inputs: Properties) -> Properties:
        """What the server says that `inputs` would become; `inputs` themselves when it cannot say."""
        if contains(inputs, Unknown):
            return inputs
        try:
            live = operation(reveal(inputs), True)
        except ClusterError:
            return inputs
        live.pop("status", None)
        return checkpoint(inputs, live)

    def retried(self, resource: Resource, operation: Callable[[], Properties]) -> Properties:
        """Five tries, for a namespace or a definition that is on its way."""
        for pause in (1, 2, 4, 8):
            try:
                return operation()
            except ClusterError as error:
                if "NotFound" not in str(error) and "no matches for kind" not in str(error):
                    raise
                self.log(resource, f"Retry; creation failed: {error}", ephemeral=True)
                time.sleep(pause * self.poll_seconds)
        return operation()

    def awaited(self, resource: Resource, inputs: Properties, live: Properties, message: str) -> Properties:
        """The outputs once the object is ready; InitError, with the object as last seen, at the deadline."""
        annotations = live["metadata"].get("annotations") or {}
        seconds = self.seconds(resource, live)
        deadline = time.monotonic() + seconds
        if annotations.get("pulumi.com/skipAwait") == "true":
            return checkpoint(inputs, live)
        if wait_for := annotations.get("pulumi.com/waitFor"):
            conditions = json.loads(wait_for) if wait_for.startswith("[") else [wait_for]
            try:
                for condition in conditions:
                    self.cluster.wait(live, condition, max(1, deadline - time.monotonic()))
            except ClusterError as error:
                raise InitError(object_id(live), checkpoint(inputs, live), f"{message}: {error}") from error
        while missing := [] if wait_for else list(self.not_ready(live)):
            if time.monotonic() > deadline:
                reason = f"'{live['metadata']['name']}' timed out waiting to be Ready"
                raise InitError(object_id(live), checkpoint(inputs, live), f"{message}: {reason}", missing)
            self.log(resource, missing[0], ephemeral=True)
            time.sleep(self.poll_seconds)
            live = self.live(live) or live
        self.log(resource, "", ephemeral=True)
        return checkpoint(inputs, self.live(live) or live)

    def seconds(self, resource: Resource, live: Properties) -> float:
        """How long the object is awaited: as the program says by customTimeouts or annotation."""
        annotated = (live["metadata"].get("annotations") or {}).get("pulumi.com/timeoutSeconds")
        return resource.timeout or float(annotated or self.await_seconds)

    def live(self, manifest: Properties) -> Properties | None:
        meta = manifest["metadata"]
        return self.cluster.get(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])

    def not_ready(self, live: Properties) -> Iterator[str]:
        """What a Deployment, DaemonSet, StatefulSet or Service still lacks."""
        spec, status = live.get("spec") or {}, live.get("status") or {}
        match live["kind"]:
            case "Deployment":
                conditions = {c["type"]: c for c in status.get("conditions") or []}
                if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
                    yield "Deployment controller has not seen the change"
                if conditions.get("Available", {}).get("status") != "True":
                    yield "Minimum number of live Pods was not attained"
                elif conditions.get("Progressing", {}).get("reason") != "NewReplicaSetAvailable":
                    yield "Attempted to roll forward to new ReplicaSet, but minimum number of Pods did not become live"
            case "DaemonSet" | "StatefulSet":
                wanted = status.get("desiredNumberScheduled", spec.get("replicas", 1))
                ready = status.get("numberReady", status.get("readyReplicas", 0))
                if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0) or ready < wanted:
                    yield f"{ready} of {wanted} Pods are ready"
            case "Service" if live["apiVersion"] == "v1":
                if spec.get("type") == "LoadBalancer" and not (status.get("loadBalancer") or {}).get("ingress"):
                    yield "Service was not allocated an IP address; does your cloud provider support this?"
                if spec.get("selector") and spec.get("clusterIP") != "None":
                    meta = live["metadata"]
                    endpoints = self.cluster.get("v1", "Endpoints", meta.get("namespace", ""), meta["name"]) or {}
                    if any(subset.get("notReadyAddresses") for subset in endpoints.get("subsets") or []):
                        yield "Service does not target any Pods. Selected Pods may not be ready"

    def check_release(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        inputs = {key: value for key, value in news.items() if value not in (None, "", False, {}, [])}
        inputs.setdefault("name", olds.get("name") or unique_name(f"{resource.name}-"))
        inputs.setdefault("namespace", self.config.get("namespace") or "default")
        if not inputs.get("skipAwait"):
            inputs.setdefault("timeout", RELEASE_SECONDS)
        if not contains(inputs, Unknown):
            try:
                inputs["version"] = self.cluster.chart(reveal(inputs))["version"]
            except ClusterError as error:
                raise CheckError("chart", f"{error}; check the chart name and repository configuration.") from error
        return inputs

    def create_release(self, inputs: Properties, preview: bool) -> tuple[str, Properties]:
        if preview:
            return "", {**inputs, "status": UNKNOWN, "resourceNames": UNKNOWN, "__inputs": Secret(inputs)}
        self.reachable()
        release = reveal(inputs)
        id_ = f"{release['namespace']}/{release['name']}"
        try:
            self.cluster.install(release)
        except ClusterError as error:
            # A name in use, pending or not, is no failed release of ours: nothing is recorded.
            stored = self.cluster.release(release["namespace"], release["name"])
            if stored is None or "cannot re-use a name that is still in use" in str(error):
                raise
            message = (
                f'Helm release "{id_}" was created, but failed to initialize completely. Use Helm CLI to investigate: '
                f"failed to become available within allocated timeout. Error: Helm Release {id_}: {error}"
            )
            raise InitError(id_, release_outputs(inputs, stored), message) from error
        return id_, release_outputs(inputs, self.cluster.release(release["namespace"], release["name"]))

    def update_release(self, outputs: Properties, news: Properties, preview: bool) -> Properties:
        if preview:
            return {**news, "status": UNKNOWN, "resourceNames": UNKNOWN, "__inputs": Secret(news)}
        self.reachable()
        release = reveal(news)
        before = self.cluster.release(release["namespace"], release["name"])
        try:
            self.cluster.upgrade(release)
        except ClusterError as error:
            # Without a new revision nothing was tried: another operation is pending, say.
            stored = self.cluster.release(release["namespace"], release["name"])
            if not stored or (before and stored["version"] == before["version"]):
                raise
            id_ = f"{release['namespace']}/{release['name']}"
            message = (
                f'Helm release "{id_}" failed to initialize completely. Use Helm CLI to investigate: '
                f"failed to become available within allocated timeout. Error: Helm Release {id_}: {error}"
            )
            raise InitError(id_, release_outputs(news, stored), message) from error
        return release_outputs(news, self.cluster.release(release["namespace"], release["name"]))

    def read_release(self, inputs: Properties, outputs: Properties) -> tuple[Properties, Properties] | None:
        known = reveal(inputs)
        stored = self.cluster.release(known["namespace"], known["name"])
        return None if stored is None else (inputs, release_outputs(inputs, stored))


def release_outputs(inputs: Properties, stored: Properties | None) -> Properties:
    if stored is None:
        raise ClusterError("helm succeeded, but its release is not stored")
    chart = stored["chart"]["metadata"]
    status = {
        "status": stored["info"]["status"],
        "name": stored["name"],
        "namespace": stored["namespace"],
        "revision": stored["version"],
        "chart": chart["name"],
        "version": chart["version"],
        "appVersion": chart.get("appVersion"),
    }
    return {**inputs, "version": chart["version"], "status": status, "__inputs": Secret(inputs)}


def checkpoint(inputs: Properties, live: Properties) -> Properties:
    """The object as the outputs: the live one, secret where the inputs are, and every Secret's content."""
    outputs = conceal(live, inputs)
    if live.get("kind") == "Secret":
        outputs |= {key: concealed(outputs[key]) for key in ("data", "stringData") if key in outputs}
    return {
        **outputs,
        "__inputs": inputs,
        "__initialApiVersion": live.get("apiVersion", ""),
        "__fieldManager": FIELD_MANAGER,
    }


def concealed(value: Any) -> Any:
    return value if isinstance(value, Secret) else Secret(value)


def pruned(inputs: Any, live: Any) -> Any:
    """`live` in the shape of `inputs`: what the program set, as it is now."""
    if isinstance(inputs, dict) and isinstance(live, dict):
        if inputs.get("kind") == "Secret" and "stringData" in inputs:
            live = {**live, "stringData": {key: decoded(text) for key, text in (live.get("data") or {}).items()}}
        return {key: pruned(value, live[key]) for key, value in inputs.items() if key in live}
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        return [pruned(a, b) for a, b in zip(inputs, live, strict=True)]
    return live


def decoded(text: str) -> str:
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        return base64.b64decode(text).decode()
    return text


def parsed(value: Any) -> Any:
    """A provider's option: the SDK sends booleans and objects as JSON."""
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    return value


def kind_of(resource: Resource, known: Properties) -> tuple[str, str]:
    """apiVersion and kind, from the object or from kubernetes:apps/v1:Deployment."""
    _, version, kind = resource.type.split(":")
    return known.get("apiVersion") or version.removeprefix("core/"), known.get("kind") or kind


def object_id(live: Properties) -> str:
    meta = live["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def is_namespaced(manifest: Properties) -> bool:
    cluster_wide = {"Namespace", "Node", "PersistentVolume", "StorageClass", "CustomResourceDefinition"}
    kind = str(manifest.get("kind"))
    return kind not in cluster_wide and not kind.startswith(("Cluster", "Cilium"))


def with_namespace(inputs: Properties) -> Properties:
    """The inputs with the namespace that an absent one means."""
    meta = reveal(inputs.get("metadata"))
    if not isinstance(meta, dict) or meta.get("namespace") or not is_namespaced(inputs):
        return inputs
    return {**inputs, "metadata": {**meta, "namespace": "default"}}


def starts_with(path: str, rule: str) -> bool:
    """Whether the property at `path` is the one at `rule`, in it, or around it."""
    return (path + ".").replace("[", ".").startswith(rule + ".") or rule.startswith(path + ".")
