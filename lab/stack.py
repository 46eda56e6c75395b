"""The stack of the lab: the program, with this machine as its host and the Kubernetes and Cilium of the lab.

usage: python -m lab.stack up|preview|destroy [MODE]      MODE: configmap (default) or control-plane
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml

from lab import host, node, programs, store
from scripts import backend

STACK = "lab"
PROJECT = "cilium-bgp-lab"
BRIDGE = "cbgplab0"
GATEWAY = "10.26.23.1"
SUBNET = "10.26.23.0/24"
API_PORT = 16443
SITE_PORT = 8000
# By BGP mode; both answers, so that both are proven.
POD_CIDR_ANNOUNCED = {"configmap": True, "control-plane": False}
NODES = {"k3s1": "server", "k3s2": "agent", "k3s3": "agent"}
STATE = store.CACHE / "pulumi"
DOWNLOADS = os.environ.get("LAB_PLUGINS") == "official"
"""Whether the engine downloads all its plugins, as a user's does."""
HOME = STATE / ("home-of-downloads" if DOWNLOADS else "home")
CONFIG = host.RUN / f"Pulumi.{STACK}.yaml"
MEMORY_GIB, DISK_GIB = 6, 15
WAIT_SECONDS = 600


def configuration(mode: str, chart: Path, nodes: Collection[str]) -> dict[str, Any]:
    """The `dev` stack's configuration, on this machine, with what the lab has of Kubernetes and Cilium."""
    dev = yaml.safe_load((store.REPOSITORY / "Pulumi.dev.yaml").read_text())["config"]
    changed: dict[str, dict[str, Any]] = {
        "host": {
            "kind": "existing",
            "address": "127.0.0.1",
            "port": host.SSH_PORT,
            "user": "root",
            "hostKey": " ".join(host.key("host_key").with_suffix(".pub").read_text().split()[:2]),
        },
        "lxd": {
            "project": PROJECT,
            "storagePool": {"name": PROJECT, "driver": "dir"},
            "bridge": {"name": BRIDGE, "address": f"{GATEWAY}/24"},
            "image": f"local:{node.ALIAS}",
            "loginUser": "debian",
        },
        "nodes": {
            name: {"role": role, "address": f"10.26.23.{number}"}
            for number, (name, role) in enumerate(NODES.items(), 11)
            if name in nodes
        },
        "k3s": {
            "version": programs.K3S_VERSION,
            "installerUrl": f"http://{GATEWAY}:{SITE_PORT}/install.sh",
            "artifactUrl": f"http://{GATEWAY}:{SITE_PORT}",
            "apiPort": API_PORT,
        },
        "bgp": dev["cilium-bgp:bgp"]
        | {"mode": mode, "announcePodCidr": POD_CIDR_ANNOUNCED[mode], "authentication": "md5"}
        | ({"gracefulRestart": True} if mode == "control-plane" else {}),
        "cilium": {
            "version": programs.CILIUM_VERSION,
            "chart": str(chart),
            "kubeProxyReplacement": True,
            "values": yaml.safe_load((Path(__file__).parent / "values.yaml").read_text()),
        },
    }
    return {**dev, **{f"cilium-bgp:{root}": value for root, value in changed.items()}}


def environment() -> dict[str, str]:
    """A state, a Pulumi home and a passphrase of the lab's own; the user's login stays untouched."""
    programs = [
        Path(sys.executable).parent,
        store.CACHE / "bin",
        store.REPOSITORY / ".cache" / "bin",
        os.environ["PATH"],
    ]
    return os.environ | {
        "PATH": ":".join(map(str, programs)),
        "PULUMI_BACKEND_URL": backend.url(STATE / "state"),
        "PULUMI_HOME": str(HOME),
        "PULUMI_CONFIG_PASSPHRASE": "this state holds nothing but the lab's own keys",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def pulumi(*arguments: str, cwd: Path = store.REPOSITORY, stdin: str | None = None) -> str:
    """Standard output of a command of the CLI that needs no provider."""
    command = ["pulumi", "--non-interactive", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment(), input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise store.BuildError(
            f"pulumi {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}"
        )
    return done.stdout


def operation(*arguments: str) -> list[str]:
    """The command for up, preview, refresh or destroy of the lab's stack."""
    command = ["pulumi", *arguments, "--stack", STACK, "--config-file", str(CONFIG)]
    if not sys.stdout.isatty():
        command += ["--non-interactive", "--color", "never"]
    return command if DOWNLOADS else [sys.executable, "-m", "simulator", "command", "--", *command]


def install_provider() -> None:
    """Put the official kubernetes provider where the engine looks for that of the SDK's version."""
    plugin = HOME / f"plugins/resource-kubernetes-v{programs.PROVIDER_VERSION}/pulumi-resource-kubernetes"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(programs.program(plugin.name))


def operate(*arguments: str) -> int:
    """Run such a command; its output passes through."""
    command = operation(*arguments)
    return subprocess.run(command, cwd=store.REPOSITORY, env=environment(), check=False, close_fds=False).returncode


def preview_steps() -> list[dict[str, Any]]:
    """What `up` would do, resource by resource."""
    done = subprocess.run(
        operation("preview", "--json"),
        cwd=store.REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise store.BuildError(f"the preview ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    return list(json.loads(done.stdout)["steps"])


def journals() -> str:
    """Last lines of what runs, from the host, the nodes and the pods; kept in .cache/lab/journals.txt too."""
    kubectl = ["lxc", "exec", "--project", PROJECT, "k3s1", "--", "k3s", "kubectl"]
    looks = [
        ["ip", "-4", "route"],
        ["vtysh", "-c", "show bgp summary"],
        ["lxc", "list", "--project", PROJECT],
        *(["lxc", "exec", "--project", PROJECT, node, "--", "journalctl", "-n", "40", "--no-pager"] for node in NODES),
        [*kubectl, "get", "nodes,pods,services", "-A", "-o", "wide"],
        [*kubectl, "get", "events", "-A", "--sort-by=.lastTimestamp"],
        [*kubectl, "-n", "kube-system", "logs", "daemonset/cilium", "--tail=40"],
        [*kubectl, "-n", "kube-system", "logs", "deployment/cilium-operator", "--tail=40"],
    ]
    text = ""
    for command in looks:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        text += f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n"
    (store.CACHE / "journals.txt").write_text(text)
    return text


def outputs() -> dict[str, Any]:
    """The stack's outputs, secrets shown."""
    return dict(json.loads(pulumi("stack", "output", "--json", "--show-secrets", "--stack", STACK)))


def check_machine() -> None:
    """Says why the lab cannot run here, before anything is built or changed."""
    reasons = []
    if os.geteuid() != 0:
        reasons.append("it needs root: LXD, FRR and routes are the machine's")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if memory < MEMORY_GIB:
        reasons.append(f"{memory:.1f} GiB of memory, {MEMORY_GIB} are needed")
    if (free := shutil.disk_usage(store.REPOSITORY).free / 2**30) < DISK_GIB:
        reasons.append(f"{free:.1f} GiB of disk free below {store.REPOSITORY}, {DISK_GIB} are needed")
    if not shutil.which("apt-get"):
        reasons.append("no apt-get: its parts are Debian's packages")
    routes = json.loads(store.run(["ip", "-json", "-4", "route", "show", "root", f"{SUBNET}", "proto", "kernel"]))
    if taken := [route["dev"] for route in routes if route["dev"] != BRIDGE]:
        reasons.append(f"{SUBNET} is taken by {', '.join(taken)}")
    if not host.running("sshd"):
        taken_ports = [str(port) for port in (host.SSH_PORT, API_PORT) if host.listens("127.0.0.1", port)]
        reasons += [f"port {port} of 127.0.0.1 is taken" for port in taken_ports]
    if reasons:
        raise store.BuildError("this machine cannot run the lab: " + "; ".join(reasons))


def prepare(mode: str, nodes: Collection[str] = NODES.keys()) -> None:
    """Everything that the stack needs to be there first: parts, LXD, node image, sshd, web server, configuration."""
    check_machine()
    store.install_packages({"sshd": "openssh-server", "ssh-keygen": "openssh-client", "curl": "curl"})
    build = subprocess.run([store.REPOSITORY / "lab" / "build"], stdout=subprocess.PIPE, text=True, check=False)
    if build.returncode:
        raise store.BuildError("its parts could not be built; the reason is above")
    built = dict(line.split("=", 1) for line in build.stdout.splitlines())
    if not DOWNLOADS:
        install_provider()
    subprocess.run([store.REPOSITORY / "scripts" / "setup-lxd", "start"], check=True)
    node.import_into("default")
    host.start_sshd()
    host.start_site(built["SITE"], GATEWAY, SITE_PORT)
    configure(mode, Path(built["CHART"]), nodes)


def bgp_password() -> str:
    """The lab's own TCP MD5 password, made when it is not there."""
    path = host.RUN / "bgp_password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(token_hex(16))
    return path.read_text()


def configure(mode: str, chart: Path, nodes: Collection[str]) -> None:
    """Write the stack's configuration, with its one secret encrypted."""
    (STATE / "state").mkdir(parents=True, exist_ok=True)
    if not any(stack["name"] == STACK for stack in json.loads(pulumi("stack", "ls", "--json"))):
        CONFIG.unlink(missing_ok=True)
        shutil.copy(store.REPOSITORY / "Pulumi.yaml", host.RUN)  # `stack init` writes beside it
        pulumi("stack", "init", STACK, cwd=host.RUN)
    content = yaml.safe_load(CONFIG.read_text()) | {"config": configuration(mode, chart, nodes)}
    CONFIG.write_text(yaml.safe_dump(content, sort_keys=False))
    secrets = {"sshPrivateKey": host.key("client_key").read_text(), "bgpPassword": bgp_password()}
    for name, value in secrets.items():
        setting = ("config", "set", "--secret", f"cilium-bgp:{name}", "--stack", STACK, "--config-file", str(CONFIG))
        pulumi(*setting, stdin=value)


def up(mode: str) -> int:
    prepare(mode)
    if code := operate("up", "--yes", "--skip-preview"):
        print(journals())
        return code
    shown = outputs()
    kubeconfig = host.RUN / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(shown["kubeconfig"])
    fcdemo = shown["load_balancer_ips"]["default/fcdemo-service"]
    print("\nLoadBalancer addresses that the router on this machine has learned from Cilium:")
    for service, address in shown["load_balancer_ips"].items():
        hops = ", ".join(shown["bgp"]["routes"][address])
        print(f"  {address:15} {service:28} via {hops}")
    print("\nTry:")
    print(f"  curl http://{fcdemo}/")
    print(f"  {store.CACHE / 'bin' / 'kubectl'} --kubeconfig {kubeconfig} get nodes -o wide")
    print("\nTake it down with: make lab-down")
    return 0


def destroy() -> int:
    """Delete the stack's resources, then what the lab itself put on this machine; what was built stays in the cache."""
    if CONFIG.exists():
        subprocess.run([store.REPOSITORY / "scripts" / "setup-lxd", "start"], check=True)
        host.start_sshd()
        if code := operate("destroy", "--yes", "--skip-preview"):
            return code
        pulumi("stack", "rm", "--yes", "--stack", STACK)
    node.remove_from("default")
    host.stop("site")
    host.stop("sshd")
    shutil.rmtree(host.RUN, ignore_errors=True)
    subprocess.run([store.REPOSITORY / "scripts" / "setup-lxd", "stop"], check=True)
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """One lab at a time on a machine. What it starts to do the work holds the lock too, so that a run after one that
    was killed begins only when all of that has ended; then the state's own lock is nobody's."""
    host.RUN.mkdir(parents=True, exist_ok=True)
    with (store.CACHE / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise store.BuildError(f"another run of the lab still works after {WAIT_SECONDS} s") from None
                store.say("another run of the lab, or what a killed one left, still works; waiting")
                time.sleep(10)
        if CONFIG.exists():
            subprocess.run(["pulumi", "cancel", "--yes", STACK], env=environment(), capture_output=True, check=False)
        yield


def main(verb: str, mode: str = "configmap") -> int:
    if mode not in POD_CIDR_ANNOUNCED:
        sys.exit(f"{mode} is no BGP mode; choose from {', '.join(POD_CIDR_ANNOUNCED)}")
    with alone():
        match verb:
            case "up":
                return up(mode)
            case "preview":
                prepare(mode)
                return operate("preview", "--diff")
            case "destroy":
                return destroy()
    sys.exit(__doc__)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except store.BuildError as error:
        sys.exit(f"lab: {error}")
