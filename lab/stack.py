"""The stack of the lab: the program, with a container as its host and the Kubernetes and Cilium of the lab.

usage: python -m lab.stack up|preview|destroy [MODE [HOST [lan]]]
       MODE: configmap (default) or control-plane
       HOST: fresh (default: the program installs what it needs), or prepared (with LXD and FRR there)
       lan: with a router on the host's LAN that learns the addresses, and a client there
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
from typing import Any

import yaml

from lab import authority, build, internet, lan, machine, programs, store
from lab.machine import Machine
from scripts import backend, interrupts

STACK = "lab"
CHART = "install/kubernetes/cilium"
"""Where Cilium's source has its chart."""
HOST = Machine("host", "10.26.22.10")
SYSTEMS = {"fresh": "host", "prepared": "prepared"}
# By BGP mode; both answers, so that both are proven.
POD_CIDR_ANNOUNCED = {"configmap": True, "control-plane": False}
NODES = ("k3s1", "k3s2", "k3s3")
SERVERS = {"k3s0": "10.26.23.10", "k3s4": "10.26.23.14"}
"""Two more: one whose name sorts before all others, one after."""
AGENTS = {f"k3s{number}": f"10.26.23.{10 + number}" for number in range(5, 12)}
"""With NODES there are ten."""
RUN = store.CACHE / "run"
KEY = RUN / "client_key"
STATE = store.CACHE / "pulumi"
DOWNLOADS = os.environ.get("LAB_PLUGINS") == "official"
"""Whether the engine downloads all its plugins, as a user's does."""
HOME = STATE / ("home-of-downloads" if DOWNLOADS else "home")
CONFIG = RUN / f"Pulumi.{STACK}.yaml"
MEMORY_GIB, DISK_GIB = 6, 20
WAIT_SECONDS = 600
HOLD_SECONDS = 9
TIMERS = {"holdTimeSeconds": HOLD_SECONDS, "keepaliveTimeSeconds": 3, "connectRetryTimeSeconds": 3}


def configuration(mode: str, nodes: Collection[str], on_lan: bool) -> dict[str, Any]:
    """The `dev` stack's configuration, on the lab's host, with what the lab has of Kubernetes and Cilium."""
    dev = yaml.safe_load((store.REPOSITORY / "Pulumi.dev.yaml").read_text())["config"]
    more = {
        name: {"role": role, "address": address}
        for role, addresses in {"server": SERVERS, "agent": AGENTS}.items()
        for name, address in addresses.items()
    }
    changed: dict[str, dict[str, Any]] = {
        "host": {"kind": "existing", "address": HOST.address, "hostKey": HOST.host_key()},
        "nodes": {name: node for name, node in sorted({**dev["cilium-bgp:nodes"], **more}.items()) if name in nodes},
        "k3s": {"version": programs.K3S_VERSION, "installerUrl": internet.installer()},
        "bgp": dev["cilium-bgp:bgp"]
        | {"mode": mode, "announcePodCidr": POD_CIDR_ANNOUNCED[mode]}
        | ({"gracefulRestart": True, **TIMERS} if mode == "control-plane" else {})
        | ({"upstreams": lan.upstreams()} if on_lan else {}),
        "cilium": {
            "version": programs.CILIUM_VERSION,
            "chart": str(programs.cilium_source() / CHART),
            "kubeProxyReplacement": True,
            "values": yaml.safe_load((Path(__file__).parent / "values.yaml").read_text()),
        },
        **({"exposure": lan.exposure()} if on_lan else {}),
    }
    return {**dev, **{f"cilium-bgp:{root}": value for root, value in changed.items()}}


def environment() -> dict[str, str]:
    """A state, a Pulumi home and a passphrase of the lab's own; the user's login stays untouched."""
    programs = [
        Path(sys.executable).parent,
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
    kubectl = ["lxc", "exec", NODES[0], "--", "k3s", "kubectl"]
    looks = [
        ["ip", "-4", "route"],
        ["vtysh", "-c", "show bgp summary"],
        ["lxc", "list"],
        ["journalctl", "-n", "40", "--no-pager"],
        *(["lxc", "exec", node, "--", "journalctl", "-n", "40", "--no-pager"] for node in NODES),
        [*kubectl, "get", "nodes,pods,services", "-A", "-o", "wide"],
        [*kubectl, "get", "events", "-A", "--sort-by=.lastTimestamp"],
        [*kubectl, "-n", "kube-system", "logs", "daemonset/cilium", "--tail=40"],
        [*kubectl, "-n", "kube-system", "logs", "deployment/cilium-operator", "--tail=40"],
    ]
    text = ""
    for command in looks:
        try:
            shown = HOST.run(*command)
        except store.BuildError as error:
            shown = str(error)
        text += f"$ {' '.join(command)}\n{shown}\n"
    (store.CACHE / "journals.txt").write_text(text)
    return text


def outputs() -> dict[str, Any]:
    """The stack's outputs, secrets shown."""
    return dict(json.loads(pulumi("stack", "output", "--json", "--show-secrets", "--stack", STACK)))


def check_machine() -> None:
    """Says why the lab cannot run here, before anything is built or changed."""
    reasons = []
    if os.geteuid() != 0:
        reasons.append("it needs root, to build the systems of its machines and to ask LXD for privileged containers")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if memory < MEMORY_GIB:
        reasons.append(f"{memory:.1f} GiB of memory, {MEMORY_GIB} are needed")
    if (free := shutil.disk_usage(store.REPOSITORY).free / 2**30) < DISK_GIB:
        reasons.append(f"{free:.1f} GiB of disk free below {store.REPOSITORY}, {DISK_GIB} are needed")
    if not shutil.which("apt-get"):
        reasons.append("no apt-get: its parts are Debian's packages")
    for bridge, network in ((machine.BRIDGE, machine.SUBNET), (lan.BRIDGE, lan.NETWORK)):
        routes = json.loads(store.run(["ip", "-json", "-4", "route", "show", "root", network, "proto", "kernel"]))
        if taken := [route["dev"] for route in routes if route["dev"] != bridge]:
            reasons.append(f"{network} is taken by {', '.join(taken)}")
    if reasons:
        raise store.BuildError("this machine cannot run the lab: " + "; ".join(reasons))


def prepare(mode: str, nodes: Collection[str] = NODES, host: str = "fresh", *, on_lan: bool = False) -> None:
    """Everything that the stack needs to be there first: parts, LXD, the internet, the host, the configuration."""
    check_machine()
    build.main()
    if not DOWNLOADS:
        install_provider()
    setup_lxd("start")
    machine.network(authority.NAMES, internet.ADDRESS)
    internet.start()
    machine.make(HOST.name, SYSTEMS[host], HOST.address)
    HOST.let_in(public_key())
    if on_lan:
        lan.make(public_key(), [HOST])
    configure(mode, nodes, on_lan=on_lan)


def setup_lxd(verb: str) -> None:
    subprocess.run([store.REPOSITORY / "scripts" / "setup-lxd", verb], check=True)


def public_key() -> str:
    """The public half of the lab's own SSH key, made when it is not there."""
    if not KEY.exists():
        store.install_packages({"ssh-keygen": "openssh-client"})
        RUN.mkdir(parents=True, exist_ok=True)
        store.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cilium-bgp lab", "-f", KEY])
    return KEY.with_suffix(".pub").read_text()


def configure(mode: str, nodes: Collection[str], *, on_lan: bool = False) -> None:
    """Write the stack's configuration, with its secrets encrypted."""
    (STATE / "state").mkdir(parents=True, exist_ok=True)
    if not any(stack["name"] == STACK for stack in json.loads(pulumi("stack", "ls", "--json"))):
        CONFIG.unlink(missing_ok=True)
        shutil.copy(store.REPOSITORY / "Pulumi.yaml", RUN)  # `stack init` writes beside it
        pulumi("stack", "init", STACK, cwd=RUN)
    content = yaml.safe_load(CONFIG.read_text()) | {"config": configuration(mode, nodes, on_lan)}
    CONFIG.write_text(yaml.safe_dump(content, sort_keys=False))
    secrets = {"sshPrivateKey": KEY.read_text()} | ({f"upstreamPasswords.{lan.NAME}": lan.PASSWORD} if on_lan else {})
    for path, value in secrets.items():
        setting = ("config", "set", "--secret", "--path", f"cilium-bgp:{path}", "--stack", STACK)
        pulumi(*setting, "--config-file", str(CONFIG), stdin=value)


def up(mode: str, host: str, *, on_lan: bool) -> int:
    prepare(mode, host=host, on_lan=on_lan)
    if code := operate("up", "--yes", "--skip-preview"):
        print(journals())
        return code
    shown = outputs()
    kubeconfig = RUN / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(shown["kubeconfig"])
    fcdemo = shown["load_balancer_ips"]["default/fcdemo-service"]
    print("\nLoadBalancer addresses that the router on the host has learned from Cilium:")
    for service, address in shown["load_balancer_ips"].items():
        hops = ", ".join(shown["bgp"]["routes"][address])
        print(f"  {address:15} {service:28} via {hops}")
    print("\nTry:")
    for asking in (HOST, lan.CLIENT) if on_lan else (HOST,):
        print(f"  lxc exec --project {machine.PROJECT} {asking.name} -- curl -s http://{fcdemo}/")
    print(f"  {programs.program('kubectl')} --kubeconfig {kubeconfig} get nodes -o wide")
    print("\nTake it down with: make lab-down")
    return 0


def destroy() -> int:
    """Take away the machines and the state; what was built stays in the cache."""
    setup_lxd("start")
    lan.remove()
    machine.remove_all()
    forget()
    shutil.rmtree(RUN, ignore_errors=True)
    setup_lxd("stop")
    return 0


def forget() -> None:
    """Nothing is known of the stack any more, whatever an earlier attempt has left of it."""
    shutil.rmtree(STATE / "state", ignore_errors=True)
    CONFIG.unlink(missing_ok=True)


@contextmanager
def alone() -> Iterator[None]:
    """One lab at a time on a machine. What it starts to do the work holds the lock too, so that a run after one that
    was killed begins only when all of that has ended; then the state's own lock is nobody's."""
    RUN.mkdir(parents=True, exist_ok=True)
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


def main(verb: str, mode: str = "configmap", host: str = "fresh", beyond: str = "") -> int:
    for value, known in ((mode, POD_CIDR_ANNOUNCED), (host, SYSTEMS), (beyond, ("", "lan"))):
        if value not in known:
            sys.exit(f"{value} is none of {', '.join(known)}")
    interrupts.heed()
    with alone():
        match verb:
            case "up":
                return up(mode, host, on_lan=bool(beyond))
            case "preview":
                prepare(mode, host=host, on_lan=bool(beyond))
                return operate("preview", "--diff")
            case "destroy":
                return destroy()
    sys.exit(__doc__)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except store.BuildError as error:
        sys.exit(f"lab: {error}")
