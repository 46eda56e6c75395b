#!/usr/bin/python3
"""STAND-IN of k3s, of the cilium-bgp lab. It packages the real Kubernetes programs as k3s does, in as far as the lab
needs: servers with an etcd, of which the further ones join the first, any number of agents that join by token,
containerd with images from an archive.

usage: k3s server|agent [FLAGS]     flags as k3s's, also from /etc/rancher/k3s/config.yaml; run by units k3s, k3s-agent
       k3s kubectl|ctr ARGS...      also as links named kubectl and ctr
       k3s etcd-snapshot save
       k3s --version

What k3s has and this has not: servicelb, flannel, network policies, kube-proxy, the helm controller, metrics-server,
local-path storage, SQLite (a single server has an etcd too), node passwords, a schedule of snapshots. Asked for one of
those by leaving out its `disable`, it says so in the unit's journal and goes on.

As in k3s, a server with an empty datastore that names no other starts a cluster, whatever others do; one that names
another joins it, with the server's token and not with the agents'; one with a datastore goes on with that. What servers
share is kept in etcd, encrypted with the token: another token is refused. A server's etcd member goes with its node.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import yaml

VERSION = "v1.30.2+k3s1"
CONFIG = Path("/etc/rancher/k3s/config.yaml")
KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")
DATA = Path("/var/lib/rancher/k3s")
BIN = DATA / "data/current/bin"
TLS = DATA / "server/tls"
AGENT = DATA / "agent"
CONTAINERD = Path("/run/k3s/containerd/containerd.sock")
API = "127.0.0.1:6443"
ROOT_ENV = {"PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def say(line: str) -> None:
    print(f"k3s stand-in: {line}", flush=True)


def fail(line: str) -> NoReturn:
    sys.exit(f"k3s stand-in: {line}")


# --- settings -------------------------------------------------------------------------------------------------------


def parser(role: str) -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog=f"k3s {role}", allow_abbrev=False)
    for name in ("server", "token", "node-name", "node-ip"):
        flags.add_argument(f"--{name}", required=role == "agent" or name.startswith("node-"))
    if role == "server":
        flags.add_argument("--agent-token")
        flags.add_argument("--tls-san", action="append", default=[])
        flags.add_argument("--cluster-cidr", default="10.42.0.0/16")
        flags.add_argument("--service-cidr", default="10.43.0.0/16")
        flags.add_argument("--flannel-backend", default="vxlan")
        flags.add_argument("--disable", action="append", default=[])
        flags.add_argument("--etcd-snapshot-dir", type=Path, default=DATA / "server/db/snapshots")
        flags.add_argument("--etcd-snapshot-schedule-cron")  # heeded by nobody
        flags.add_argument("--etcd-snapshot-retention", type=int, default=5)
        flags.add_argument("--cluster-reset-restore-path", type=Path)
        for name in (
            "disable-network-policy",
            "disable-kube-proxy",
            "secrets-encryption",
            "cluster-init",
            "cluster-reset",
        ):
            flags.add_argument(f"--{name}", action="store_true")
    return flags


def configured(role: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Flags of the configuration file and of those beside it, overruled by those of the command line, as in k3s."""
    flags: list[str] = []
    content: dict[str, Any] = {}
    for file in (CONFIG, *sorted(CONFIG.with_suffix(".yaml.d").glob("*.yaml"))):
        content |= (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}
    for key, value in content.items():
        items = value if isinstance(value, list) else [value]
        flags += [f"--{key}" if item is True else f"--{key}={item}" for item in items if item not in (None, False)]
    return parser(role).parse_args([*flags, *arguments])


# --- small things ---------------------------------------------------------------------------------------------------


def run(*command: str | Path, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, env=ROOT_ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def private(path: Path, content: str) -> Path:
    """Write a file that nobody can read half written, or but root at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(content)
    part.rename(path)
    return path


class Dumper(yaml.SafeDumper):
    """Quotes what Go's readers take for a number and PyYAML does not: 12e5, a hexadecimal number with one e."""


Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$"), list("-+.0123456789")
)


def ask(
    address: str, context: ssl.SSLContext, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, bytes]:
    """HTTP status and answer of an API at HOST:PORT. Errors: OSError."""
    connection = http.client.HTTPSConnection(address, timeout=20, context=context)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def notify_ready() -> None:
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unit:
            unit.connect(address.replace("@", "\0", 1))
            unit.send(b"READY=1")


class Children:
    """The programs of this unit. They end with it, and it ends with the first of them; systemd starts it again."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path) -> None:
        say(f"starting {name}")
        # Not a member of the unit's stop: containers outlive a restart (KillMode=process), these programs must not.
        self.running[name] = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=ROOT_ENV)

    def check(self) -> None:
        for name, child in self.running.items():
            if child.poll() is not None:
                fail(f"{name} ended with {child.returncode}; its last lines are above")

    def wait_for(self, what: str, seconds: int, missing: Callable[[], str]) -> None:
        """Wait until `missing` has nothing more to name."""
        deadline = time.monotonic() + seconds
        while seen := missing():
            self.check()
            if time.monotonic() > deadline:
                fail(f"{what} did not come within {seconds} s; last seen: {seen}")
            time.sleep(0.5)

    def stop(self) -> None:
        for child in self.running.values():
            child.terminate()
        # The API server would wait a minute for its watchers; k3s does not wait either.
        end = time.monotonic() + 5
        while time.monotonic() < end and any(child.poll() is None for child in self.running.values()):
            time.sleep(0.1)
        for child in self.running.values():
            child.kill()
            child.wait()


# --- certificates ---------------------------------------------------------------------------------------------------


def authority(name: str) -> None:
    if not (TLS / f"{name}.crt").exists():
        certify(name, f"k3s-{name}@{int(time.time())}", ["-addext", "basicConstraints=critical,CA:TRUE"])


def certificate(name: str, subject: str, issuer: str, alternatives: Sequence[str] = ()) -> None:
    """Key and certificate for clients and, with alternative names, servers; kept while the names are the same."""
    names = ",".join(f"{'IP' if re.fullmatch('[0-9.]+', each) else 'DNS'}:{each}" for each in alternatives)
    wanted, made = TLS / f"{name}.names", TLS / f"{name}.crt"
    if wanted.exists() and wanted.read_text() == names and lasts(made):
        return
    options = ["-CA", f"{TLS / issuer}.crt", "-CAkey", f"{TLS / issuer}.key"]
    options += ["-addext", "extendedKeyUsage=clientAuth,serverAuth", "-addext", "basicConstraints=CA:FALSE"]
    certify(name, subject, [*options, *(["-addext", f"subjectAltName={names}"] if names else [])])
    private(wanted, names)


def lasts(certificate: Path) -> bool:
    """As k3s does: within 90 days of its end it is made anew."""
    command = ["openssl", "x509", "-noout", "-checkend", str(90 * 86400), "-in", str(certificate)]
    return subprocess.run(command, env=ROOT_ENV, stdout=subprocess.DEVNULL, check=False).returncode == 0


def certify(name: str, subject: str, options: Sequence[str]) -> None:
    organisation, _, common = subject.rpartition("/")
    shown = f"/O={organisation}/CN={common}" if organisation else f"/CN={common}"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{TLS / name}.key"]
    run("openssl", "req", "-x509", "-days", "365", "-subj", shown, *key, *options, "-out", TLS / f"{name}.crt")
    (TLS / f"{name}.key").chmod(0o600)


def kubeconfig(path: Path, server: str, authority: str, user: Mapping[str, str]) -> Path:
    """Certificates and keys are embedded: the file is all that its reader needs."""
    return private(
        path,
        yaml.dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "default", "cluster": {"server": server, "certificate-authority-data": authority}}
                ],
                "users": [{"name": "default", "user": dict(user)}],
                "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
                "current-context": "default",
            },
            Dumper=Dumper,
            sort_keys=False,
        ),
    )


def embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def client_kubeconfig(path: Path, name: str) -> Path:
    user = {
        "client-certificate-data": embedded(TLS / f"{name}.crt"),
        "client-key-data": embedded(TLS / f"{name}.key"),
    }
    return kubeconfig(path, f"https://{API}", embedded(TLS / "server-ca.crt"), user)


# --- joining --------------------------------------------------------------------------------------------------------


def bootstrap_token(secret: str) -> str:
    """Kubernetes' own bootstrap token that stands for a join secret of any form."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return f"{digest[:6]}.{digest[6:22]}"


def split_token(token: str) -> tuple[str, str]:
    """Hash of the server's authority ("" if the token has none) and secret; k3s's form is K10HASH::USER:SECRET."""
    if found := re.fullmatch(r"K10([0-9a-f]{64})::(?:[^:]+:)?(.+)", token):
        return found[1], found[2]
    return "", token


def join(server: str, token: str) -> Mapping[str, str]:
    """What a kubelet needs to join: serverCA and clientCA (PEM), clusterDNS, and a bootstrapToken that was accepted.

    Ends the program if the server does not accept the token, or is not the server that the token names.
    """
    authority, bearer = trusted(server, token)
    told: dict[str, str] = asked(server, token, authority, "configmaps/k3s-agent")["data"]
    return told | {"serverCA": authority, "bootstrapToken": bearer}


def trusted(server: str, token: str) -> tuple[str, str]:
    """The server's authority (PEM), which the token names, and the bootstrap token to speak to it with."""
    url = urlsplit(server)
    if url.scheme != "https" or not url.hostname:
        fail(f"server must be https://HOST[:PORT], is {server}")
    address = f"{url.hostname}:{url.port or 443}"
    # The server sends its authority with its certificate; what makes it trusted is the hash in the token.
    shown = subprocess.run(
        ["openssl", "s_client", "-showcerts", "-connect", address],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    chain = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", shown.stdout, re.DOTALL)
    if not chain:
        fail(f"failed to get CA certs: {address} does not answer as a server: {shown.stderr.strip()[-200:]}")
    wanted, secret = split_token(token)
    if wanted and hashlib.sha256(chain[-1].encode()).hexdigest() != wanted:
        fail("token CA hash does not match the Cluster CA certificate hash: a wrong token, or another cluster")
    if not wanted:
        say(f"the token names no authority; trusting the one that {address} shows")
    return chain[-1], bootstrap_token(secret)


def asked(server: str, token: str, authority: str, what: str) -> Any:
    """An object of kube-system that who joins may read. Ends the program if the token does not allow it."""
    context = ssl.create_default_context(cadata=authority)
    bearer = bootstrap_token(split_token(token)[1])
    path = f"/api/v1/namespaces/kube-system/{what}"
    for _ in range(10):  # a server that has just started knows its own rules a moment later
        status, found = ask(urlsplit(server).netloc, context, "GET", path, Authorization=f"Bearer {bearer}")
        if status == http.HTTPStatus.OK:
            return json.loads(found)
        time.sleep(1)
    fail(f"{server} refused the token (HTTP {status}): it is not the one of its servers, or one for agents alone")


# --- node: containerd and kubelet -----------------------------------------------------------------------------------


def prepare_node() -> None:
    """What kubelet needs of a system container on a host with both cgroup versions mounted, and nobody gave it."""
    groups = Path("/sys/fs/cgroup")
    if not (groups / "cgroup.controllers").exists():
        run("mount", "-o", "remount,rw", groups)
        for controller in ("cpu", "cpuacct"):
            folder = groups / controller
            if folder.is_symlink():
                folder.unlink()
            folder.mkdir(exist_ok=True)
            if not folder.is_mount():
                run("mount", "-t", "cgroup", "-o", controller, "cgroup", folder)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


CONTAINERD_CONFIG = """\
version = 2
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/rancher/mirrored-pause:3.6"
  # A container of LXD's may not lower its out-of-memory score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"""


def start_containerd(children: Children) -> None:
    config = private(AGENT / "etc/containerd/config.toml", CONTAINERD_CONFIG)
    children.start("containerd", "containerd", "--config", config)
    children.wait_for("containerd's socket", 60, lambda: "" if CONTAINERD.exists() else "no socket")


def import_images() -> None:
    """Import the archives that lie where k3s looks for them, unless this was done."""
    for path in sorted((AGENT / "images").glob("*.tar")):
        state = path.stat()
        stamp = f"{state.st_size} {state.st_mtime_ns}"
        done = AGENT / "imported" / path.name
        if not done.exists() or done.read_text() != stamp:
            say(f"importing {path}")
            started = time.monotonic()
            run("/usr/bin/ctr", "--address", CONTAINERD, "--namespace", "k8s.io", "images", "import", path)
            private(done, stamp)
            say(f"imported {path} in {time.monotonic() - started:.0f} s")


def start_node(children: Children, settings: argparse.Namespace, joined: Mapping[str, str]) -> None:
    """containerd with its images, and a kubelet that asks for its certificate with the bootstrap token."""
    start_containerd(children)
    import_images()
    authority = private(AGENT / "client-ca.crt", joined["clientCA"])
    server_authority = base64.b64encode(joined["serverCA"].encode()).decode()
    user = {"token": joined["bootstrapToken"]}
    # k3s's agent gets its certificates from the server at each start; the kubelet would keep those of a former cluster.
    known = AGENT / "kubelet.kubeconfig"
    if known.exists() and server_authority not in known.read_text():
        known.unlink()
        shutil.rmtree(AGENT / "pki", ignore_errors=True)
    # By way of the port on which each node has the API, as in k3s.
    bootstrap = kubeconfig(AGENT / "bootstrap.kubeconfig", "https://127.0.0.1:6444", server_authority, user)
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority)}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [joined["clusterDNS"]],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # The disk is the host's: how full it is says nothing about this node, and its size cannot be limited.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "rotateCertificates": True,
    }
    children.start(
        "kubelet",
        "kubelet",
        f"--config={private(AGENT / 'etc/kubelet.yaml', json.dumps(config))}",
        f"--bootstrap-kubeconfig={bootstrap}",
        f"--kubeconfig={AGENT / 'kubelet.kubeconfig'}",
        f"--cert-dir={AGENT / 'pki'}",
        f"--hostname-override={settings.node_name}",
        f"--node-ip={settings.node_ip}",
    )


def start_local_api(children: Children, target: str) -> None:
    """The API at 127.0.0.1:6444, which every node of k3s has."""
    children.start("API at 6444", "socat", "TCP-LISTEN:6444,bind=127.0.0.1,fork,reuseaddr", f"TCP:{target}")


# --- server ---------------------------------------------------------------------------------------------------------

JOIN_ROLES = {
    "system:node-bootstrapper": "system:bootstrappers:k3s-agent",
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": "system:bootstrappers:k3s-agent",
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": "system:nodes",
}
"""Groups by the roles that let their members ask for a node's certificates."""


def join_rules(server: str, agent: str, told: Mapping[str, str], shared: str) -> str:
    """What lets nodes join with bootstrap tokens, as kubeadm has it, and servers read what servers share; for kubectl.

    `server`, `agent`: secrets of the two tokens; `told`: what a joining node is told; `shared`: what a joining server
    is told, encrypted.
    """
    rbac = "rbac.authorization.k8s.io"

    def rule(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        meta = {"name": name} | ({} if kind == "ClusterRoleBinding" else {"namespace": "kube-system"})
        version = "v1" if kind in ("ConfigMap", "Secret") else f"{rbac}/v1"
        return {"apiVersion": version, "kind": kind, "metadata": meta, **fields}

    def bound(kind: str, role: str, name: str, group: str) -> dict[str, Any]:
        subject = {"apiGroup": rbac, "kind": "Group", "name": group}
        reference = {"apiGroup": rbac, "kind": kind, "name": role}
        return rule(f"{kind}Binding", name, roleRef=reference, subjects=[subject])

    rules = [
        rule("ConfigMap", "k3s-agent", data=dict(told)),
        rule("Secret", "k3s-bootstrap", stringData={"data": shared}),
        *(bound("ClusterRole", role, f"k3s:{role}", group) for role, group in JOIN_ROLES.items()),
    ]
    for role, resource, name in (("k3s-agent", "configmaps", "k3s-agent"), ("k3s-server", "secrets", "k3s-bootstrap")):
        allowed = {"apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": ["get"]}
        rules += [rule("Role", role, rules=[allowed]), bound("Role", role, role, f"system:bootstrappers:{role}")]
    groups = {agent: ["k3s-agent"]}
    groups.setdefault(server, []).append("k3s-server")
    for secret, roles in groups.items():
        token_id, token_secret = bootstrap_token(secret).split(".")
        data = {"token-id": token_id, "token-secret": token_secret, "usage-bootstrap-authentication": "true"}
        data["auth-extra-groups"] = ",".join(f"system:bootstrappers:{role}" for role in roles)
        kind = "bootstrap.kubernetes.io/token"
        rules.append(rule("Secret", f"bootstrap-token-{token_id}", type=kind, stringData=data))
    return "".join(f"---\n{json.dumps(rule)}\n" for rule in rules)


def server(children: Children, settings: argparse.Namespace) -> None:
    absent = {"flannel": settings.flannel_backend != "none", "network policies": not settings.disable_network_policy}
    absent |= {"kube-proxy": not settings.disable_kube_proxy, "servicelb": "servicelb" not in settings.disable}
    for name in (name for name, asked_for in absent.items() if asked_for):
        say(f"{name} is asked for (not disabled), but this stand-in has none")
    services = ip_network(settings.service_cidr)
    dns = str(services[10])

    shared = {}
    if not begun() and settings.server:
        if not settings.token:
            fail("K3S_TOKEN is required to join a cluster")
        shared = fetch_shared(settings)
    token = server_token(settings)
    secret = split_token(token)[1]
    make_certificates(settings, str(services[1]))
    encryption = [f"--encryption-provider-config={secrets_encryption()}"] if settings.secrets_encryption else []
    if settings.cluster_reset_restore_path:
        restore(settings)
    start_etcd(children, settings, shared.get("etcd", ""))
    if settings.cluster_reset:
        children.wait_for("etcd", 60, lambda: "" if etcd("cluster/member/list", {}) else "no answer")
        if settings.cluster_reset_restore_path:
            take_shared(secret)
        say("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.")
        say(f"Backup and delete {DATA}/server/db on each peer etcd server and rejoin the nodes")
        sys.exit(0)
    children.wait_for("etcd to be a voting member", 300, not_voting)
    keep_shared(secret)
    start_api(children, settings, encryption)
    client_kubeconfig(KUBECONFIG, "admin")
    children.wait_for("the API server", 120, api_missing)
    compare_ranges(settings)
    start_controllers(children, settings)

    critical = {key: getattr(settings, key) for key in CRITICAL}
    told = {"clusterDNS": dns, "clientCA": (TLS / "client-ca.crt").read_text(), **critical}
    agent_secret = split_token(settings.agent_token)[1] if settings.agent_token else secret
    kubectl("apply", "-f", "-", text=join_rules(secret, agent_secret, told, encrypted(shared_files(), secret)))
    current = ",".join(f"metadata.name!=bootstrap-token-{bootstrap_token(its)[:6]}" for its in (secret, agent_secret))
    of_tokens = f"type=bootstrap.kubernetes.io/token,{current}"  # a former token lets nobody in
    kubectl("delete", "secret", "-n", "kube-system", f"--field-selector={of_tokens}")
    for manifest in sorted((DATA / "server/manifests").glob("*.yaml")):
        if manifest.stem in settings.disable:
            kubectl("delete", "--ignore-not-found", "--wait=false", "-f", str(manifest))
        else:
            kubectl("apply", "-f", "-", text=manifest.read_text().replace("%{CLUSTER_DNS}%", dns))

    start_local_api(children, API)
    start_node(children, settings, join(f"https://{API}", agent_secret))
    children.wait_for(f"node {settings.node_name}", 120, lambda: node_missing(settings.node_name))
    roles = [f"node-role.kubernetes.io/{role}=true" for role in ("control-plane", "etcd", "master")]
    kubectl("label", "--overwrite", "node", settings.node_name, *roles)
    mark = {"annotations": {MEMBER: member_name(settings)}, "finalizers": [FINALIZER]}
    kubectl("patch", "node", settings.node_name, "--type=merge", "-p", json.dumps({"metadata": mark}))


CRITICAL = ("cluster_cidr", "service_cidr")


def compare_ranges(settings: argparse.Namespace) -> None:
    """Ends the program if the cluster has other ranges: nodes and Services have addresses of those."""
    known = kubectl("-n", "kube-system", "get", "configmap", "k3s-agent", "--ignore-not-found", "-o", "json")
    data = json.loads(known)["data"] if known else {}
    for key in CRITICAL:
        if data.get(key, getattr(settings, key)) != getattr(settings, key):
            fail(f"critical configuration value mismatch between servers: {key} {data[key]}, {getattr(settings, key)}")


# --- what servers share ---------------------------------------------------------------------------------------------

SHARED = [f"tls/{name}-ca.{kind}" for name in ("server", "client", "etcd") for kind in ("crt", "key")]
SHARED += ["tls/service.key", "cred/encryption-config.json"]


def shared_files() -> str:
    files = {name: DATA / "server" / name for name in SHARED}
    return json.dumps({name: path.read_text() for name, path in files.items() if path.exists()})


MAGIC = "k3s-bootstrap:"


def cipher(mode: str, text: str, password: str) -> str:
    command = ["openssl", "enc", mode, "-aes-256-cbc", "-pbkdf2", "-a", "-A", "-pass", "env:PASSWORD"]
    environment = {**ROOT_ENV, "PASSWORD": password}
    return subprocess.run(
        command, input=text, env=environment, capture_output=True, text=True, errors="replace", check=False
    ).stdout


def encrypted(text: str, password: str) -> str:
    """In one line of base64."""
    return cipher("-e", MAGIC + text, password)


def decrypted(text: str, password: str) -> str:
    """Ends the program if the password is another one."""
    opened = cipher("-d", text, password)
    if not opened.startswith(MAGIC):
        fail("bootstrap data already found and encrypted with different token")
    return opened.removeprefix(MAGIC)


def fetch_shared(settings: argparse.Namespace) -> dict[str, str]:
    """Take over the authorities of the cluster that is joined, and become a member of its etcd.

    Returns etcd's initial cluster. Ends the program if the token is not a server's.
    """
    authority, _ = trusted(settings.server, settings.token)
    secret = split_token(settings.token)[1]
    found = asked(settings.server, settings.token, authority, "secrets/k3s-bootstrap")["data"]["data"]
    for name, text in json.loads(decrypted(base64.b64decode(found).decode(), secret)).items():
        private(DATA / "server" / name, text)
    make_certificates(settings, "127.0.0.1")
    (TLS / "kube-apiserver.names").unlink()  # it was for this joining alone
    context, path = client_context("admin", "server-ca"), "/api/v1/namespaces/default/endpoints/kubernetes"
    _, found = ask(urlsplit(settings.server).netloc, context, "GET", path)
    others = [address["ip"] for subset in json.loads(found)["subsets"] for address in subset["addresses"]]
    return {"etcd": become_member(settings, others)}


def keep_shared(secret: str) -> None:
    """What servers share, in etcd under a key of the token's. Ends the program if it is there under another one's."""
    key = f"/bootstrap/{hashlib.sha256(secret.encode()).hexdigest()[:12]}"
    found = etcd("kv/range", {"key": coded("/bootstrap/"), "range_end": coded("/bootstrap0"), "keys_only": True})
    if not found or "error" in found:
        fail(f"etcd: {(found or {}).get('error', 'no answer')}")
    keys = [base64.b64decode(pair["key"]).decode() for pair in found.get("kvs", [])]
    if keys and key not in keys:
        fail("bootstrap data already found and encrypted with different token")
    if not keys:
        etcd("kv/put", {"key": coded(key), "value": coded(encrypted(shared_files(), secret))})


def take_shared(secret: str) -> None:
    """The authorities of the cluster whose etcd this is, in place of those that were made for this start."""
    found = etcd("kv/range", {"key": coded("/bootstrap/"), "range_end": coded("/bootstrap0")}) or {}
    for pair in found.get("kvs", []):
        kept = decrypted(base64.b64decode(pair["value"]).decode(), secret)
        for name, text in json.loads(kept).items():
            private(DATA / "server" / name, text)
    for names in TLS.glob("*.names"):
        names.unlink()


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# --- etcd -----------------------------------------------------------------------------------------------------------

MEMBER = "etcd.k3s.cattle.io/node-name"
FINALIZER = "wrangler.cattle.io/managed-etcd-controller"
ETCD = DATA / "server/db/etcd"
LOCAL = "127.0.0.1"


def begun() -> bool:
    """Whether there is a datastore: then it decides, whatever the flags say."""
    return (ETCD / "member/wal").is_dir()


def member_name(settings: argparse.Namespace) -> str:
    """Name of this member, made once for each datastore."""
    file = ETCD / "name"
    if not file.exists():
        private(file, f"{settings.node_name}-{secrets.token_hex(4)}")
        ETCD.chmod(0o700)
    return file.read_text()


def client_context(certificate_name: str, authority_name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(TLS / f"{authority_name}.crt"))
    context.load_cert_chain(TLS / f"{certificate_name}.crt", TLS / f"{certificate_name}.key")
    return context


def etcd(method: str, body: Mapping[str, object], address: str = "") -> Any:
    """etcd's answer, by its JSON gateway; what it complained of has the key `error`; None if it does not answer."""
    try:
        _, found = ask(f"{address or LOCAL}:2379", client_context("etcd", "etcd-ca"), "POST", f"/v3/{method}", body)
        return json.loads(found)
    except (OSError, ValueError):
        return None


def peer(settings: argparse.Namespace) -> str:
    return f"https://{settings.node_ip}:2380"


def become_member(settings: argparse.Namespace, others: Sequence[str]) -> str:
    """Add this server to etcd as a learner; returns the initial cluster. One learner at a time: it waits its turn."""
    name, own = member_name(settings), peer(settings)
    end = time.monotonic() + 120
    while True:
        for address in others:
            members = (etcd("cluster/member/list", {}, address) or {}).get("members", [])
            for member in members:
                same_node = member.get("name", "").rpartition("-")[0] == settings.node_name
                if same_node and member["name"] != name:
                    fail("duplicate node name found, please use a unique name for this node")
            urls = [(member.get("name") or name, member["peerURLs"][0]) for member in members]
            if members and own not in [url for _, url in urls]:
                added = etcd("cluster/member/add", {"peerURLs": [own], "isLearner": True}, address) or {
                    "error": "no answer"
                }
                say(f"adding member {name}={own} to etcd cluster {urls}: {added.get('error', 'done')}")
                if "error" in added:
                    continue
                urls.append((name, own))
            if members:
                return ",".join(f"{member}={url}" for member, url in urls)
        if time.monotonic() > end:
            fail(f"ETCD join failed: no etcd at {', '.join(others)} takes this server")
        time.sleep(2)


def start_etcd(children: Children, settings: argparse.Namespace, initial: str) -> None:
    """Start etcd: with the datastore that is there, as a member of the `initial` cluster, or as a new cluster."""
    name, own = member_name(settings), peer(settings)
    files = {"cert-file": "etcd.crt", "key-file": "etcd.key", "trusted-ca-file": "etcd-ca.crt"}
    children.start(
        "etcd",
        "etcd",
        f"--name={name}",
        f"--data-dir={ETCD}",
        f"--listen-client-urls=https://{LOCAL}:2379,https://{settings.node_ip}:2379",
        f"--advertise-client-urls=https://{settings.node_ip}:2379",
        f"--listen-peer-urls={own}",
        f"--initial-advertise-peer-urls={own}",
        f"--listen-metrics-urls=http://{LOCAL}:2381",
        f"--initial-cluster={initial or f'{name}={own}'}",
        f"--initial-cluster-state={'existing' if initial else 'new'}",
        "--heartbeat-interval=500",
        "--election-timeout=5000",
        "--client-cert-auth",
        "--peer-client-cert-auth",
        *(["--force-new-cluster"] if settings.cluster_reset else []),
        *(f"--{prefix}{option}={TLS / file}" for prefix in ("", "peer-") for option, file in files.items()),
    )


def snapshot() -> None:
    """`k3s etcd-snapshot save`."""
    settings = configured("server", [])
    folder = settings.etcd_snapshot_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    its = f"on-demand-{settings.node_name}-"
    flags = [f"--cacert={TLS / 'etcd-ca.crt'}", f"--cert={TLS / 'etcd.crt'}", f"--key={TLS / 'etcd.key'}"]
    taken = folder / f"{its}{int(time.time())}"
    run("etcdctl", f"--endpoints=https://{LOCAL}:2379", *flags, "snapshot", "save", taken)
    for old in sorted(folder.glob(f"{its}*"))[: -settings.etcd_snapshot_retention]:
        old.unlink()
    say(f"Snapshot {taken.name} saved.")


def restore(settings: argparse.Namespace) -> None:
    """An etcd with what the snapshot has, in place of any other."""
    shutil.rmtree(ETCD, ignore_errors=True)
    name, made = member_name(settings), ETCD.with_name("restored")
    shutil.rmtree(made, ignore_errors=True)
    flags = [f"--name={name}", f"--initial-cluster={name}={peer(settings)}"]
    flags += [f"--initial-advertise-peer-urls={peer(settings)}", f"--data-dir={made}"]
    run("etcdctl", "snapshot", "restore", settings.cluster_reset_restore_path, *flags)
    (made / "member").rename(ETCD / "member")
    made.rmdir()


def not_voting() -> str:
    """Why this member has no vote yet."""
    status = etcd("maintenance/status", {})
    if status is None or "error" in status:
        return f"etcd: {(status or {}).get('error', 'no answer')}"
    if status.get("isLearner"):
        return "this server has not yet been promoted from learner to voting member"
    if int(status.get("leader", 0)) == 0:
        return "etcd has no leader: most of its members are not there"
    members = (etcd("cluster/member/list", {}) or {}).get("members", [])
    own = status["header"]["member_id"]
    return "" if own in [member["ID"] for member in members] else "this server is a not a member of the etcd cluster"


def promote_learners() -> None:
    """Give a vote to a member that has caught up; etcd refuses while it has not."""
    for member in (etcd("cluster/member/list", {}) or {}).get("members", []):
        if member.get("isLearner"):
            etcd("cluster/member/promote", {"ID": member["ID"]})


def tend_members() -> None:
    """A node that is deleted stays until its member has gone from etcd."""
    listed = api("GET", "/api/v1/nodes?labelSelector=node-role.kubernetes.io/etcd%3Dtrue")
    for node in (listed or {}).get("items", []):
        meta = node["metadata"]
        if "deletionTimestamp" in meta and FINALIZER in meta.get("finalizers", []):
            gone = meta.get("annotations", {}).get(MEMBER)
            for member in (etcd("cluster/member/list", {}) or {}).get("members", []):
                if member.get("name") == gone:
                    removed = etcd("cluster/member/remove", {"ID": member["ID"]}) or {}
                    say(f"removing member {gone} from etcd: {removed.get('error', 'done')}")
            left = [name for name in meta["finalizers"] if name != FINALIZER]
            members = (etcd("cluster/member/list", {}) or {"members": [{"name": gone}]}).get("members", [])
            if gone not in [member.get("name") for member in members]:
                api("PATCH", f"/api/v1/nodes/{meta['name']}", {"metadata": {"finalizers": left or None}})


def api(method: str, path: str, body: object = None) -> Any:
    """The API server's answer as the administrator; None if there is none."""
    kind = {"Content-Type": "application/merge-patch+json"}
    try:
        return json.loads(ask(API, client_context("admin", "server-ca"), method, path, body, **kind)[1])
    except (OSError, ValueError):
        return None


# --- the rest of a server -------------------------------------------------------------------------------------------


def server_token(settings: argparse.Namespace) -> str:
    """The join token, K10HASH::server:SECRET; the secret is the configured one, else made once."""
    path = DATA / "server/token"
    (DATA / "server").mkdir(parents=True, exist_ok=True)
    TLS.mkdir(mode=0o700, exist_ok=True)
    authority("server-ca")
    digest = hashlib.sha256((TLS / "server-ca.crt").read_bytes()).hexdigest()
    if settings.token:
        named, secret = split_token(settings.token)
        if named not in ("", digest):
            fail("token CA hash does not match the Cluster CA certificate hash")
    elif path.exists():
        secret = split_token(path.read_text().strip())[1]
    else:
        secret = secrets.token_hex(16)
    token = f"K10{digest}::server:{secret}"
    private(path, f"{token}\n")
    private(DATA / "server/node-token", f"{token}\n")
    agent = split_token(settings.agent_token)[1] if settings.agent_token else ""
    private(DATA / "server/agent-token", f"K10{digest}::node:{agent}\n" if agent else f"{token}\n")
    return token


def make_certificates(settings: argparse.Namespace, service_address: str) -> None:
    authority("client-ca")
    authority("etcd-ca")
    local = [LOCAL, "localhost"]
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    certificate("etcd", "etcd", "etcd-ca", [*local, settings.node_ip])
    addresses = [settings.node_ip, service_address, settings.node_name, *settings.tls_san]
    certificate("kube-apiserver", "kube-apiserver", "server-ca", list(dict.fromkeys([*local, *names, *addresses])))
    chain = [(TLS / f"{name}.crt").read_text() for name in ("kube-apiserver", "server-ca")]
    private(TLS / "kube-apiserver-chain.crt", "".join(chain))
    for name in ("admin", "kube-apiserver-kubelet"):
        certificate(name, f"system:masters/system:{name}", "client-ca")
    for name in ("kube-controller-manager", "kube-scheduler"):
        certificate(name, f"system:{name}", "client-ca")
        client_kubeconfig(TLS / f"{name}.kubeconfig", name)
    if not (TLS / "service.key").exists():
        private(TLS / "service.key", run("openssl", "genrsa", "2048"))


def start_api(children: Children, settings: argparse.Namespace, encryption: Sequence[str]) -> None:
    children.start(
        "kube-apiserver",
        "kube-apiserver",
        f"--advertise-address={settings.node_ip}",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-bootstrap-token-auth=true",
        f"--client-ca-file={TLS / 'client-ca.crt'}",
        f"--tls-cert-file={TLS / 'kube-apiserver-chain.crt'}",
        f"--tls-private-key-file={TLS / 'kube-apiserver.key'}",
        f"--kubelet-client-certificate={TLS / 'kube-apiserver-kubelet.crt'}",
        f"--kubelet-client-key={TLS / 'kube-apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--etcd-servers=https://127.0.0.1:2379",
        f"--etcd-cafile={TLS / 'etcd-ca.crt'}",
        f"--etcd-certfile={TLS / 'etcd.crt'}",
        f"--etcd-keyfile={TLS / 'etcd.key'}",
        f"--service-cluster-ip-range={settings.service_cidr}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={TLS / 'service.key'}",
        f"--service-account-signing-key-file={TLS / 'service.key'}",
        *encryption,
    )


def start_controllers(children: Children, settings: argparse.Namespace) -> None:
    children.start(
        "kube-controller-manager",
        "kube-controller-manager",
        f"--kubeconfig={TLS / 'kube-controller-manager.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={settings.cluster_cidr}",
        f"--service-cluster-ip-range={settings.service_cidr}",
        f"--cluster-signing-cert-file={TLS / 'client-ca.crt'}",
        f"--cluster-signing-key-file={TLS / 'client-ca.key'}",
        f"--root-ca-file={TLS / 'server-ca.crt'}",
        f"--service-account-private-key-file={TLS / 'service.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=true",
    )
    children.start(
        "kube-scheduler",
        "kube-scheduler",
        f"--kubeconfig={TLS / 'kube-scheduler.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--leader-elect=true",
    )


def secrets_encryption() -> Path:
    path = DATA / "server/cred/encryption-config.json"
    if not path.exists():
        key = {"name": "aescbckey", "secret": base64.b64encode(secrets.token_bytes(32)).decode()}
        resources = [{"resources": ["secrets"], "providers": [{"aescbc": {"keys": [key]}}, {"identity": {}}]}]
        config = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": resources}
        private(path, json.dumps(config))
    return path


def kubectl(*arguments: str, text: str | None = None) -> str:
    return run("kubectl", f"--kubeconfig={KUBECONFIG}", *arguments, text=text)


def api_missing() -> str:
    try:
        status, said = ask(API, client_context("admin", "server-ca"), "GET", "/readyz")
    except OSError as error:
        return str(error)
    return "" if status == http.HTTPStatus.OK else f"HTTP {status}: {said[-200:]!r}"


def node_missing(name: str) -> str:
    return "" if kubectl("get", "node", name, "--ignore-not-found", "-o", "name") else "no node of that name"


# --- agent and commands ---------------------------------------------------------------------------------------------


def agent(children: Children, settings: argparse.Namespace) -> None:
    joined = join(settings.server, settings.token)
    start_local_api(children, urlsplit(settings.server).netloc)
    start_node(children, settings, joined)
    kubelet = AGENT / "kubelet.kubeconfig"
    children.wait_for("the kubelet's certificate", 120, lambda: "" if kubelet.exists() else f"no {kubelet}")


def main() -> None:
    name = Path(sys.argv[0]).name
    role, *arguments = sys.argv[1:] if name.startswith("k3s") else [name, *sys.argv[1:]]
    if role == "--version":
        print(f"k3s version {VERSION} (stand-in of the cilium-bgp lab)")
    elif role == "kubectl":
        os.environ.setdefault("KUBECONFIG", str(KUBECONFIG))
        os.execv(BIN / "kubectl", [role, *arguments])  # noqa: S606 a command in this one's place
    elif role == "ctr":
        os.execv("/usr/bin/ctr", [role, "--address", str(CONTAINERD), "--namespace", "k8s.io", *arguments])  # noqa: S606
    elif [role, *arguments] == ["etcd-snapshot", "save"]:
        snapshot()
    elif role in ("server", "agent"):
        settings = configured(role, arguments)
        children = Children()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            prepare_node()
            {"server": server, "agent": agent}[role](children, settings)
            notify_ready()
            say("ready")
            while True:
                children.check()
                if role == "server":
                    promote_learners()
                    tend_members()
                time.sleep(1)
        finally:
            children.stop()
    else:
        fail(f"{role} is not a command of this stand-in: server, agent, kubectl, ctr, etcd-snapshot save, --version")


if __name__ == "__main__":
    main()
