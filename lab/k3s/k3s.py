#!/usr/bin/python3
"""STAND-IN of k3s, of the cilium-bgp lab. It packages the real Kubernetes programs as k3s does, in as far as the lab
needs: one server with an etcd, any number of agents that join by token, containerd with images from an archive.

usage: k3s server|agent [FLAGS]     flags as k3s's, also from /etc/rancher/k3s/config.yaml; run by units k3s, k3s-agent
       k3s kubectl|ctr ARGS...      also as links named kubectl and ctr
       k3s --version

What k3s has and this has not: servicelb, flannel, network policies, kube-proxy, more than one server, the helm
controller, metrics-server, local-path storage. Asked for one of those by leaving out its `disable`, it says so in the
unit's journal and goes on.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import NoReturn
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
ROOT_ENV = {"PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def say(line: str) -> None:
    print(f"k3s stand-in: {line}", flush=True)


def fail(line: str) -> NoReturn:
    sys.exit(f"k3s stand-in: {line}")


# --- settings -------------------------------------------------------------------------------------------------------


def parser(role: str) -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog=f"k3s {role}", allow_abbrev=False)
    flags.add_argument("--server", "-s", default=os.environ.get("K3S_URL"))
    flags.add_argument("--token", "-t", default=os.environ.get("K3S_TOKEN"))
    flags.add_argument("--token-file", default=os.environ.get("K3S_TOKEN_FILE"))
    flags.add_argument("--node-name", default=os.environ.get("K3S_NODE_NAME") or socket.gethostname())
    flags.add_argument("--node-ip")
    flags.add_argument("--node-label", action="append", default=[])
    if role == "server":
        flags.add_argument("--https-listen-port", default="6443")
        flags.add_argument("--write-kubeconfig-mode", default=os.environ.get("K3S_KUBECONFIG_MODE") or "600")
        flags.add_argument("--tls-san", action="append", default=[])
        flags.add_argument("--cluster-cidr", default="10.42.0.0/16")
        flags.add_argument("--service-cidr", default="10.43.0.0/16")
        flags.add_argument("--flannel-backend", default="vxlan")
        flags.add_argument("--disable", action="append", default=[])
        for name in ("disable-network-policy", "disable-kube-proxy", "secrets-encryption", "cluster-init"):
            flags.add_argument(f"--{name}", action="store_true")
    return flags


def configured(role: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Flags of the configuration file, overruled by those of the command line, as in k3s."""
    flags: list[str] = []
    if CONFIG.exists():
        content = yaml.safe_load(CONFIG.read_text()) or {}
        for key, value in content.items():
            items = value if isinstance(value, list) else [value]
            flags += [f"--{key}" if item is True else f"--{key}={item}" for item in items if item not in (None, False)]
    settings = parser(role).parse_args([*flags, *arguments])
    if settings.token_file and not settings.token:
        settings.token = Path(settings.token_file).read_text().strip()
    if not settings.node_ip:
        route = json.loads(run("ip", "-json", "route", "get", "192.0.2.1"))
        settings.node_ip = route[0]["prefsrc"]
    return settings


# --- small things ---------------------------------------------------------------------------------------------------


def run(*command: str | Path, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, env=ROOT_ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def private(path: Path, content: str, mode: int = 0o600) -> Path:
    """Write a file that nobody can read half written, or before it has its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    part.rename(path)
    return path


class Dumper(yaml.SafeDumper):
    """Quotes what Go's readers take for a number and PyYAML does not: 12e5, a hexadecimal number with one e."""


Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$"), list("-+.0123456789")
)


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
    wanted = TLS / f"{name}.names"
    if wanted.exists() and wanted.read_text() == names:
        return
    options = ["-CA", f"{TLS / issuer}.crt", "-CAkey", f"{TLS / issuer}.key"]
    options += ["-addext", "extendedKeyUsage=clientAuth,serverAuth", "-addext", "basicConstraints=CA:FALSE"]
    certify(name, subject, [*options, *(["-addext", f"subjectAltName={names}"] if names else [])])
    private(wanted, names)


def certify(name: str, subject: str, options: Sequence[str]) -> None:
    organisation, _, common = subject.rpartition("/")
    shown = f"/O={organisation}/CN={common}" if organisation else f"/CN={common}"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{TLS / name}.key"]
    run("openssl", "req", "-x509", "-days", "365", "-subj", shown, *key, *options, "-out", TLS / f"{name}.crt")
    (TLS / f"{name}.key").chmod(0o600)


def kubeconfig(path: Path, server: str, authority: str, user: Mapping[str, str], mode: int = 0o600) -> Path:
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
        mode,
    )


def embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def client_kubeconfig(path: Path, name: str, port: str, mode: int = 0o600) -> Path:
    user = {
        "client-certificate-data": embedded(TLS / f"{name}.crt"),
        "client-key-data": embedded(TLS / f"{name}.key"),
    }
    return kubeconfig(path, f"https://127.0.0.1:{port}", embedded(TLS / "server-ca.crt"), user, mode)


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
        fail(f"{address} does not answer as a server: {shown.stderr.strip()[-200:]}")
    wanted, secret = split_token(token)
    if wanted and hashlib.sha256(chain[-1].encode()).hexdigest() != wanted:
        fail(f"the authority of {address} is not the one that the token names: a wrong token, or another server")
    if not wanted:
        say(f"the token names no authority; trusting the one that {address} shows")
    bearer = bootstrap_token(secret)
    context = ssl.create_default_context(cadata=chain[-1])
    for _ in range(10):  # a server that has just started knows its own rules a moment later
        connection = http.client.HTTPSConnection(address, timeout=20, context=context)
        path = "/api/v1/namespaces/kube-system/configmaps/k3s-agent"
        connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}"})
        answer = connection.getresponse()
        if answer.status == http.HTTPStatus.OK:
            told: dict[str, str] = json.load(answer)["data"]
            return told | {"serverCA": chain[-1], "bootstrapToken": bearer}
        time.sleep(1)
    fail(f"{server} refused the token (HTTP {answer.status}): it is not the one in {DATA}/server/node-token there")


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
        f"--config={private(AGENT / 'etc/kubelet.yaml', yaml.dump(config, Dumper=Dumper))}",
        f"--bootstrap-kubeconfig={bootstrap}",
        f"--kubeconfig={AGENT / 'kubelet.kubeconfig'}",
        f"--cert-dir={AGENT / 'pki'}",
        f"--hostname-override={settings.node_name}",
        f"--node-ip={settings.node_ip}",
        f"--node-labels={','.join(settings.node_label)}",
    )


def start_local_api(children: Children, target: str) -> None:
    """The API at 127.0.0.1:6444, which every node of k3s has."""
    children.start("API at 6444", "socat", "TCP-LISTEN:6444,bind=127.0.0.1,fork,reuseaddr", f"TCP:{target}")


# --- server ---------------------------------------------------------------------------------------------------------

# What lets a node join with a bootstrap token, as kubeadm has it. Quoted: hexadecimal digits may be a number.
JOIN_RULES = """\
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-%(id)s, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: "%(id)s"
  token-secret: "%(secret)s"
  usage-bootstrap-authentication: "true"
  auth-extra-groups: system:bootstrappers:k3s
---
apiVersion: v1
kind: ConfigMap
metadata: {name: k3s-agent, namespace: kube-system}
data: %(agent)s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: k3s-agent, namespace: kube-system}
rules: [{apiGroups: [""], resources: [configmaps], resourceNames: [k3s-agent], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: k3s-agent, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: k3s-agent}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:bootstrappers:k3s}]
"""
JOIN_ROLES = {
    "system:node-bootstrapper": "system:bootstrappers:k3s",
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": "system:bootstrappers:k3s",
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": "system:nodes",
}
JOIN_BINDING = """\
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "k3s:%(role)s"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "%(role)s"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "%(group)s"}]
"""


def join_rules(token: str, agent: Mapping[str, str]) -> str:
    """For kubectl; `agent` is what a joining node is told."""
    token_id, token_secret = token.split(".")
    rules = JOIN_RULES % {"id": token_id, "secret": token_secret, "agent": json.dumps(agent)}
    return rules + "".join(JOIN_BINDING % {"role": role, "group": group} for role, group in JOIN_ROLES.items())


def server(children: Children, settings: argparse.Namespace) -> None:
    if settings.server:
        fail(f"server {settings.server}: joining as a further server is something that this stand-in cannot do")
    absent = {"flannel": settings.flannel_backend != "none", "network policies": not settings.disable_network_policy}
    absent |= {"kube-proxy": not settings.disable_kube_proxy, "servicelb": "servicelb" not in settings.disable}
    for name in (name for name, asked in absent.items() if asked):
        say(f"{name} is asked for (not disabled), but this stand-in has none")
    port = settings.https_listen_port
    services = ip_network(settings.service_cidr)
    dns = str(services[10])

    token = server_token(settings)
    make_certificates(settings, str(services[1]))
    start_api(children, settings)
    client_kubeconfig(KUBECONFIG, "admin", port, int(settings.write_kubeconfig_mode, 8))
    children.wait_for("the API server", 120, lambda: api_missing(port))
    start_controllers(children, settings)

    agent = {"clusterDNS": dns, "clientCA": (TLS / "client-ca.crt").read_text()}
    kubectl("apply", "-f", "-", text=join_rules(bootstrap_token(split_token(token)[1]), agent))
    for manifest in sorted((DATA / "server/manifests").glob("*.yaml")):
        if manifest.stem in settings.disable:
            kubectl("delete", "--ignore-not-found", "--wait=false", "-f", str(manifest))
        else:
            kubectl("apply", "-f", "-", text=manifest.read_text().replace("%{CLUSTER_DNS}%", dns))

    start_local_api(children, f"127.0.0.1:{port}")
    start_node(children, settings, join(f"https://127.0.0.1:{port}", token))
    children.wait_for(f"node {settings.node_name}", 120, lambda: node_missing(settings.node_name))
    roles = [f"node-role.kubernetes.io/{role}=true" for role in ("control-plane", "etcd", "master")]
    kubectl("label", "--overwrite", "node", settings.node_name, *roles)


def server_token(settings: argparse.Namespace) -> str:
    """The join token, K10HASH::server:SECRET; the secret is the configured one, else made once."""
    path = DATA / "server/token"
    (DATA / "server").mkdir(parents=True, exist_ok=True)
    TLS.mkdir(mode=0o700, exist_ok=True)
    authority("server-ca")
    if settings.token:
        secret = split_token(settings.token)[1]
    elif path.exists():
        secret = split_token(path.read_text().strip())[1]
    else:
        secret = secrets.token_hex(16)
    digest = hashlib.sha256((TLS / "server-ca.crt").read_bytes()).hexdigest()
    token = f"K10{digest}::server:{secret}"
    private(path, f"{token}\n")
    private(DATA / "server/node-token", f"{token}\n")
    return token


def make_certificates(settings: argparse.Namespace, service_address: str) -> None:
    authority("client-ca")
    authority("etcd-ca")
    local = ["127.0.0.1", "localhost"]
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    certificate("etcd", "etcd", "etcd-ca", local)
    addresses = [settings.node_ip, service_address, settings.node_name, *settings.tls_san]
    certificate("kube-apiserver", "kube-apiserver", "server-ca", list(dict.fromkeys([*local, *names, *addresses])))
    chain = [(TLS / f"{name}.crt").read_text() for name in ("kube-apiserver", "server-ca")]
    private(TLS / "kube-apiserver-chain.crt", "".join(chain))
    for name in ("admin", "kube-apiserver-kubelet"):
        certificate(name, f"system:masters/system:{name}", "client-ca")
    for name in ("kube-controller-manager", "kube-scheduler"):
        certificate(name, f"system:{name}", "client-ca")
        client_kubeconfig(TLS / f"{name}.kubeconfig", name, settings.https_listen_port)
    if not (TLS / "service.key").exists():
        private(TLS / "service.key", run("openssl", "genrsa", "2048"))


def start_api(children: Children, settings: argparse.Namespace) -> None:
    files = {"cert-file": "etcd.crt", "key-file": "etcd.key", "trusted-ca-file": "etcd-ca.crt"}
    children.start(
        "etcd",
        "etcd",
        f"--data-dir={DATA / 'server/db/etcd'}",
        "--listen-client-urls=https://127.0.0.1:2379",
        "--advertise-client-urls=https://127.0.0.1:2379",
        "--listen-peer-urls=https://127.0.0.1:2380",
        "--initial-advertise-peer-urls=https://127.0.0.1:2380",
        "--initial-cluster=default=https://127.0.0.1:2380",
        "--client-cert-auth",
        "--peer-client-cert-auth",
        *(f"--{prefix}{option}={TLS / file}" for prefix in ("", "peer-") for option, file in files.items()),
    )
    encryption = [f"--encryption-provider-config={secrets_encryption()}"] if settings.secrets_encryption else []
    children.start(
        "kube-apiserver",
        "kube-apiserver",
        f"--advertise-address={settings.node_ip}",
        f"--secure-port={settings.https_listen_port}",
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
        "--leader-elect=false",
    )
    children.start(
        "kube-scheduler",
        "kube-scheduler",
        f"--kubeconfig={TLS / 'kube-scheduler.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
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


def api_missing(port: str) -> str:
    context = ssl.create_default_context(cafile=str(TLS / "server-ca.crt"))
    context.load_cert_chain(TLS / "admin.crt", TLS / "admin.key")
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", int(port), timeout=5, context=context)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return "" if answer.status == http.HTTPStatus.OK else f"HTTP {answer.status}: {answer.read()[-200:]!r}"
    except OSError as error:
        return str(error)


def node_missing(name: str) -> str:
    return "" if kubectl("get", "node", name, "--ignore-not-found", "-o", "name") else "no node of that name"


# --- agent and commands ---------------------------------------------------------------------------------------------


def agent(children: Children, settings: argparse.Namespace) -> None:
    if not settings.server or not settings.token:
        fail("an agent needs server (K3S_URL) and token (K3S_TOKEN)")
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
                time.sleep(1)
        finally:
            children.stop()
    else:
        fail(f"{role} is not a command of this stand-in: server, agent, kubectl, ctr, --version")


if __name__ == "__main__":
    main()
