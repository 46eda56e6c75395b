"""What the shells of the pretend host and its nodes answer to the program's own scripts, and to nothing else.

Each answers what its script prints, from what the scripts before it left (host.json, see `memory`), and fails as the
script would where that is missing. A fault's KEY is SCRIPT or NODE/SCRIPT, e.g. `frr.sh` or `k3s2/k3s_install.sh`: it
fails with the message, or hangs until its own `timeout` ends it. Failing `installer` is k3s's; hanging k3s2/unit never
becomes active, k3s2/join never joins, k3s2/session never establishes, nor does upstream/ADDRESS. Failing "frr" is a
bgpd that does not run, failing "endpoint" an endpoint of the API that passes nothing on.
"""

import importlib.util
import json
import secrets
import shlex
import subprocess
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.cluster_identity import numbers
from components.scripts import awaited
from simulator import bgp, clock, memory
from simulator.cluster import certificate, register, served, settle
from simulator.inside import Inside
from simulator.lxd_api import LxdApi

vars(awaited).update(time=clock)
SCRIPTS = Path(__file__).parent.parent / "components" / "scripts"
SOCKET = "/var/lib/lxd/unix.socket"
TIMED_OUT = 124
"""Exit status of timeout(1)."""
READING = ("frr.sh", "k3s_install.sh", "ngrok.sh")
"""Scripts that read standard input; the others' may stay open for ever."""

Json = dict[str, Any]


class ExitError(Exception):
    """A script's end with a message on standard error."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Node:
    """A running instance."""

    id: str
    """Its volatile.uuid: another one when it is made anew."""
    name: str
    address: str
    user: str
    """Whom its image lets in."""


def nodes(lxd: LxdApi) -> dict[str, Node]:
    """Running instances with a fixed address, by that address."""
    found = {}
    for (kind, _, name), entity in list(lxd.entities.items()):
        if kind == "instances" and entity["status"] == "Running":
            for device in entity["devices"].values():
                if address := device.get("ipv4.address"):
                    config = entity["config"]
                    found[address] = Node(config["volatile.uuid"], name, address, config["image.os"])
    return found


@dataclass(frozen=True)
class Shell:
    """Of the host, or of one node."""

    lxd: LxdApi
    node: Node | None = None

    def run(self, call: "Call", stdin: str) -> str:
        """What the script writes to standard output. Errors: ExitError."""
        answer: Callable[..., str] | None = getattr(self, call.script.replace(".", "_"), None)
        if answer is None:
            raise ExitError(f"{call.script}: not simulated", 127)
        self.fault(call.script, call.seconds)
        return answer(stdin, *call.arguments)

    def fault(self, what: str, seconds: float) -> None:
        keys = {what, f"{self.node.name}/{what}" if self.node else f"host/{what}"}
        for key, message in memory.faults("fail").items():
            if key in keys:
                raise ExitError(message)
        if keys & set(memory.faults("hang")):
            clock.sleep(seconds)
            raise ExitError(f"{what}: stopped by its time limit", TIMED_OUT)

    # On the host.

    def preflight_sh(self, stdin: str, owner: str, stack: str, user: str, *wanted: str) -> str:
        if not owner:
            return "ready"
        with memory.opened("host") as state:
            if state.setdefault("owner", [owner, stack])[0] != owner:
                raise ExitError(
                    "this host is not ready, and was not touched:\n"
                    f"the stack {state['owner'][1]} is on this host already; …"
                )
        return "ready"

    def host_release_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            state.pop("owner", None)
        return ""

    def authorized_keys_sh(self, stdin: str, user: str, machine: str, *keys: str) -> str:
        with memory.opened("host") as state:
            state["authorized_keys"] = list(keys)
        return ""

    def booted_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            return str(state.get("boot", "first start"))

    def lxd_install_sh(self, stdin: str, limit: str) -> str:
        with memory.opened("host") as state:
            state["lxd"] = True
        return SOCKET

    def kernel_prepare_sh(self, stdin: str, *modules: str) -> str:
        with memory.opened("host") as state:
            state["kernel"] = list(modules)
        return ",".join(modules)

    def kernel_restore_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            state.pop("kernel", None)
        return ""

    def ssh_key_sh(self, stdin: str) -> str:
        import asyncssh  # noqa: PLC0415

        with memory.opened("host") as state:
            if "ssh_key" not in state:
                public = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
                state["ssh_key"] = " ".join(public.split()[:2])
            return str(state["ssh_key"])

    def ssh_key_remove_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            state.pop("ssh_key", None)
        return ""

    def firewall_sh(self, stdin: str, bridge: str, *arguments: str) -> str:
        _gateway, _api_port, pool, open_to, *nodes = arguments
        with memory.opened("host") as state:
            state["firewall"], state["open"] = list(nodes), open_to
        return f"{bridge}: BGP from {', '.join(nodes)}{open_to and f'; {pool} for {open_to}'}"

    def firewall_remove_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            state.pop("firewall", None)
        return ""

    def frr_sh(self, stdin: str, address: str, bridge: str) -> str:
        network = self.lxd.entities.get(("networks", "", bridge), {"config": {}})
        if not network["config"].get("ipv4.address", "").startswith(f"{address}/"):
            raise ExitError(f"{bridge} has no address {address}; bgpd would listen nowhere")
        with memory.opened("host") as state:
            router = bgp.router(stdin)
            known = {f"NODE-{node}" for node in (router.neighbors if router else ())}
            stay = [its for its in state.get("frr", "").splitlines() if " seq 20 " in its and its.split()[2] in known]
            state["frr"] = "\n".join([stdin.rstrip("\n"), *stay, ""])
            state.pop("aside", None)  # a reload leaves nothing that is not in the file
        return address

    def frr_pods_sh(self, stdin: str, limit: str, *pairs: str) -> str:
        ranges = [pair.split("=") for pair in pairs]
        with memory.opened("host") as state:
            if "frr" in state:
                lines = [line for line in state["frr"].splitlines() if " seq 20 " not in line]
                lines += [f"ip prefix-list NODE-{node} seq 20 permit {range_}" for node, range_ in ranges]
                state["frr"] = "\n".join([*lines, ""])
            conf = state.get("frr", "")
        for node, range_ in ranges:

            def missing(node: str = node, range_: str = range_) -> str:
                sessions = self.sessions(conf)
                state = "Established" if node in sessions else "Active"
                return "" if range_ in sessions.get(node, []) else f"BGP state = {state}"

            await_(float(limit), f"a route to {range_}, the pods of {node}", missing)
        return " ".join(pairs)

    def frr_restore_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            state.pop("frr", None)
            state.pop("aside", None)
        return ""

    def ngrok_sh(self, stdin: str, address: str) -> str:
        if not stdin.strip():
            await_(60, "a public URL from ngrok's local API (127.0.0.1:14040)", lambda: "nothing")
        with memory.opened("host") as state:
            state["ngrok"] = address
        return "https://simulated.ngrok-free.example"

    def ngrok_remove_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            state.pop("ngrok", None)
        return ""

    def proof_py(self, stdin: str, *arguments: str) -> str:
        return script_program("proof.py", output=self.output, status=self.status)(arguments)

    def output(self, *command: str) -> Json | list[Json]:
        """What vtysh and ip say of sessions and routes."""
        with memory.opened("host") as state:
            sessions = self.sessions(state.get("frr", ""))
        if command[0] == "vtysh":
            if message := memory.faults("fail").get("frr"):
                raise subprocess.CalledProcessError(1, command, stderr=message)
            router = bgp.router(state.get("frr", ""))
            told = bgp.told(state.get("frr", ""), {route for routes in sessions.values() for route in routes})
            if "advertised-routes" in command[2]:
                return {"advertisedRoutes": {route: {} for route in told[command[2].split()[5]]}}
            peers: Json = {peer: {"state": "Active", "pfxRcd": 0} for peer in (router.neighbors if router else ())}
            up = {a: {"state": "Established", "pfxRcd": len(routes)} for a, routes in sessions.items()}
            silent = memory.faults("hang")
            beyond = {
                a: {"state": "Connect" if f"upstream/{a}" in silent else "Established", "pfxRcd": 0} for a in told
            }
            return {"peers": peers | up | beyond}
        hops = [address for address, routes in sessions.items() if command[4] in routes]
        return [{"dst": command[4], "nexthops": [{"gateway": hop} for hop in hops]}] if hops else []

    def status(self, address: str) -> int | str:
        """Of an answer over HTTP."""
        return 200 if self.routed(address) else "timed out"

    def status_py(self, stdin: str, *arguments: str) -> str:
        def endpoint(_name: str) -> str:
            with memory.opened("host") as state:
                if "endpoint" in memory.faults("fail"):
                    raise OSError(memory.faults("fail")["endpoint"])
                served = any(self.serves(state, its) for its in state.get("endpoint", {}).get("servers", []))
            return "" if served else "it closes the connection"

        proof = loaded("proof.py", output=self.output)
        return script_program(
            "status.py",
            Lxd=lambda _path: Inside(self.lxd, self.serves),
            endpoint=endpoint,
            sessions=proof.sessions,
            upstreams=proof.upstreams,
            next_hops=proof.next_hops,
            status=self.status,
            opened=lambda address, _port: "" if self.routed(address) else "timed out",
        )(arguments)

    def urls_py(self, stdin: str, seconds: str, urls: str, *http: str) -> str:
        def status(url: str) -> int:
            with memory.opened("host") as state:
                shown = {"https://simulated.ngrok-free.example": state.get("ngrok", "")}
                opened = state.get("open")
            for (kind, _, name), its in list(self.lxd.entities.items()):
                listens = name.partition("/")[2]
                if kind == "forwards" and not listens.startswith("127."):  # where LXD's forward never answers
                    shown |= {f"{listens}:{port['listen_port']}": port["target_address"] for port in its["ports"]}
            address = url.partition("://")[2]
            behind = shown.get(url) or shown.get(address) or (address if opened else "")
            if not self.routed(behind):
                raise OSError("timed out")
            return 200

        return script_program("urls.py", status=status)(float(seconds), json.loads(urls), list(http))

    def routed(self, address: str) -> bool:
        """Whether the host has learned a route to the address."""
        with memory.opened("host") as state:
            conf = state.get("frr", "")
        return any(f"{address}/32" in routes for routes in self.sessions(conf).values())

    def sessions(self, conf: str) -> dict[str, list[str]]:
        """Routes by the address of each node that has a session."""
        with memory.opened("host") as state, memory.opened("kubernetes") as cluster:
            joined, passed = members(state), state.get("firewall", [])
            release = cilium(cluster)
            objects, pods = cluster.get("objects", {}), state.get("nodes", {})
            aside, left = state.get("aside", []), state.get("left", [])
        router = bgp.router(conf)
        hanging = memory.faults("hang")
        announced = release is not None and bgp.announces_pods(release.get("config") or {}, objects)
        agents = {
            node.address: [pods[node.id]["pods"]] if announced else []
            for node in nodes(self.lxd).values()
            if release and joined.get(node.name) == node.id
            if not {f"{node.name}/session", f"{node.name}/agent", "daemonset/cilium"} & set(hanging)
            if node.address in passed
        }
        sessions = bgp.sessions(conf, objects, release["config"] if release else {}, agents)
        # Cilium of a former cluster speaks on until its node has joined the present one.
        for node in nodes(self.lxd).values():
            if node.id in left and router and node.address in router.neighbors:
                sessions.setdefault(node.address, [])
        return {address: [] if address in aside else routes for address, routes in sessions.items()}

    def support_sh(self, stdin: str, *nodes: str) -> str:
        """Logs may quote anything: these quote all secrets that the host has."""
        with memory.opened("host") as state:
            said = [*state.get("frr", "").splitlines(), *json.dumps(state.get("cluster", {}), indent=1).splitlines()]
        return "\n".join(["$ lxc list --all-projects", *nodes, "$ journalctl", *(f"frr: {line}" for line in said)])

    # On a node.

    def node_prepare_sh(self, stdin: str) -> str:
        with self.own() as its:
            its["mounts"] = True
        return f"bpf file system: device 43\n{machine_id(self.at_home().id)}"

    def folder_sh(self, stdin: str, path: str) -> str:
        self.lxd.folders.add(path)
        return path

    def k3s_install_sh(self, stdin: str, *arguments: str) -> str:
        role, version, installer, _artifact, limit, _user, server, authority, snapshot, *_ = (*arguments, "", "", "")
        node = self.at_home()
        password, _, text = stdin.partition("\n")
        config = json.loads(text.partition("\n#")[0])
        unit, other = ("k3s", "k3s-agent") if role == "server" else ("k3s-agent", "k3s")
        with self.own() as its:
            if its.get("role", role) != role:
                raise ExitError(
                    f"{node.name} already runs {other} and cannot become {role} in place; remove the node from the "
                    "configuration, run once, then add it again"
                )
            if not its.get("mounts"):
                raise ExitError("/sys/fs/bpf is , not bpf")
            if its.get("ran") and numbers(version) < numbers(its["version"]):
                raise ExitError(f"{node.name} runs k3s {its['version']}; k3s does not go back to an older release")
            if its.get("ran") and numbers(version)[1] > numbers(its["version"])[1] + 1:
                raise ExitError(f"{node.name} runs k3s {its['version']}; Kubernetes goes one minor release at a time")
            if "installer" in memory.faults("fail"):
                raise ExitError(
                    f"k3s {version}: the installer from {installer} failed, or took longer than {limit} s; its output "
                    "is above"
                )
            if role == "server" and not its.get("datastore"):
                if snapshot and not authority:
                    config |= {"cluster-reset-restore-path": snapshot}
                token = f"K10{authority}::server:{config['token']}"
                config |= {"server": server, "token": token} if authority else {"cluster-init": True}
            its |= {"role": role, "version": version, "config": config, "password": its.get("password", password)}
        with memory.opened("host") as state:
            if config.get("cluster-reset-restore-path", "") not in ["", *state.get("snapshots", {})]:
                raise ExitError(f"there is no snapshot {snapshot} in k3s.snapshots.folder")
        await_(float(limit), f"{unit} on {node.name} active", lambda: self.unit(config))
        with self.own() as its:
            its["ran"] = True
        return f"k3s version {version} (simulated)"

    def unit(self, config: Json) -> str:
        """Start k3s with this config.yaml, as far as it comes: why it is not active, nothing if it is."""
        node = self.at_home()
        if f"{node.name}/unit" in memory.faults("hang"):
            return "activating"
        with memory.opened("host") as state:
            its = state["nodes"][node.id]
            secret, authority = split_token(config["token"])
            cluster = state.get("cluster")
            if its["role"] == "agent" or not its.get("datastore"):
                if its["role"] == "server" and "server" not in config:
                    return self.start(state, config, secret)
                if not cluster or not self.reaches(state, config["server"]) or not quorum(state):
                    return "activating: failed to get CA certs: connection refused"
                if authority not in ("", cluster["ca"]):
                    return "activating: token CA hash does not match the Cluster CA certificate hash"
                # k3s asks as the user of the role, whatever the token says.
                if secret != cluster["token" if its["role"] == "server" else "agent-token"]:
                    return "activating: not authorized"
                if cluster["members"].get(node.name, node.id) != node.id:
                    return "activating: duplicate node name found, please use a unique name for this node"
                if cluster["nodes"].get(node.name, its)["password"] != its["password"]:
                    return "activating: Node password rejected, duplicate hostname"
            elif not cluster or cluster["ca"] != its["datastore"] or cluster["members"].get(node.name) != node.id:
                return "activating: this server is a not a member of the etcd cluster"
            elif secret != cluster["token"]:
                return "activating: bootstrap data already found and encrypted with different token"
            elif not quorum(state):
                return "activating: etcdserver: no leader"
            if its["role"] == "server":
                if any(config[key] != cluster[key] for key in ("cluster-cidr", "service-cidr")):
                    return "activating: critical configuration value mismatch between servers"
                its["datastore"] = cluster["ca"]
                cluster["members"][node.name] = node.id
                cluster["agent-token"] = config["agent-token"]
                cluster["disable-kube-proxy"] = config["disable-kube-proxy"]
            its["kube-proxy"] = not cluster["disable-kube-proxy"]
            known(cluster, node, its)
            state["left"] = [id_ for id_ in state.get("left", []) if id_ != node.id]
        return ""

    def start(self, state: Json, config: Json, secret: str) -> str:
        """A server with an empty datastore that names no other starts a cluster, whatever the others do."""
        node, its = self.at_home(), state["nodes"][self.at_home().id]
        kept = state.get("snapshots", {}).get(config.get("cluster-reset-restore-path"), {})
        if kept and kept["token"] != secret:
            return "activating: bootstrap data already found and encrypted with different token"
        with memory.opened("kubernetes") as objects:
            spoke = cilium(objects) is not None
            objects.clear()  # of a former cluster
            objects.update(kept.get("objects", {}))
        state["left"] = [id_ for id_ in members(state).values() if id_ != node.id and spoke]
        its["datastore"] = kept.get("ca") or secrets.token_hex(32)
        its["kube-proxy"] = not config["disable-kube-proxy"]
        shared = ("cluster-cidr", "service-cidr", "disable-kube-proxy", "agent-token")
        state["cluster"] = {key: config[key] for key in shared} | {
            "ca": its["datastore"],
            "token": secret,
            "members": {node.name: node.id},
            "nodes": {},
        }
        known(state["cluster"], node, its)
        return ""

    def k3s_snapshot_sh(self, stdin: str) -> str:
        with memory.opened("host") as state, memory.opened("kubernetes") as objects:
            taken = state.setdefault("snapshots", {})
            name = f"on-demand-{self.at_home().name}-{1796000000 + len(taken)}"
            taken[name] = {key: state["cluster"][key] for key in ("ca", "token")} | {"objects": deepcopy(objects)}
        return name

    def reaches(self, state: Json, url: str) -> bool:
        """Whether a server answers at this URL: directly, or by the host's endpoint."""
        address, _, port = url.removeprefix("https://").partition(":")
        endpoint = state.get("endpoint", {})
        if (address, port) == (endpoint.get("gateway"), endpoint.get("port")):
            return any(self.serves(state, name) for name in endpoint["servers"])
        there = nodes(self.lxd).get(address)
        return port == "6443" and there is not None and self.serves(state, there.name)

    def serves(self, state: Json, name: str) -> bool:
        """Whether the API of the server of that name answers."""
        cluster = state.get("cluster", {"members": {}})
        present = {node.name: node.id for node in nodes(self.lxd).values()}
        runs = f"{name}/unit" not in memory.faults("hang")
        return runs and present.get(name, "") == cluster["members"].get(name) and quorum(state)

    def k3s_token_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            if not state["nodes"][self.at_home().id].get("datastore"):
                return ""
            return f"K10{state['cluster']['ca']}::server:{state['cluster']['token']}"

    def k3s_ca_sh(self, stdin: str) -> str:
        return str(self.cluster()["ca"])

    def k3s_endpoint_sh(self, stdin: str, name: str, listen: str, gateway: str, port: str, *servers: str) -> str:
        for (kind, *_), entity in self.lxd.entities.items():
            for device in entity["devices"].values() if kind == "instances" else ():
                if device.get("listen", "").endswith(f":{port}"):
                    raise ExitError(f"{name} did not start; does something else listen on {listen}:{port}")
        with memory.opened("host") as state:
            names = [server.partition("=")[0] for server in servers]
            state["endpoint"] = {"gateway": gateway, "port": port, "servers": names}
        return f"{gateway}:{port}"

    def k3s_endpoint_remove_sh(self, stdin: str, name: str) -> str:
        with memory.opened("host") as state:
            state.pop("endpoint", None)
        return ""

    def on_server_py(self, stdin: str, *arguments: str) -> str:
        _socket, _listed, without, seconds, _key, *command = arguments
        present = {node.name: node for node in nodes(self.lxd).values()}

        def serving() -> Node | None:
            with memory.opened("host") as state:
                names = state.get("endpoint", {}).get("servers", [])
                return next((present[name] for name in names if name in present and self.serves(state, name)), None)

        with memory.opened("host") as state:
            kept = state.get("nodes", {})
            begun = any(kept.get(node.id, {}).get("datastore") for node in present.values())
        if without == "skip" and not begun:
            return ""
        try:
            await_(float(seconds), "a server of the cluster", lambda: "" if serving() else "connection refused")
        except ExitError:
            if without != "pass":
                raise
            return ""
        return Shell(self.lxd, serving()).run(parsed(command), "")

    def k3s_kubeconfig_sh(self, stdin: str) -> str:
        its_own = self.cluster("cat: /etc/rancher/k3s/k3s.yaml: No such file or directory")
        secret = certificate(its_own["ca"])  # none, but as well kept as one
        its = {"certificate-authority-data": secret, "server": "https://127.0.0.1:6443"}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "default", "cluster": its}],
                "users": [{"name": "default", "user": {"client-certificate-data": secret, "client-key-data": secret}}],
                "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
                "current-context": "default",
            }
        )

    def node_aside_sh(self, stdin: str, way: str, address: str, *command: str) -> str:
        with memory.opened("host") as state:
            frr = state.get("frr", "")
        used = {hop for hop, routes in self.sessions(frr).items() if routes}
        with memory.opened("host") as state:
            if way == "leave" and used - {address}:
                state["aside"] = [*state.get("aside", []), address]
        answer = self.run(program(list(command), 0), "")
        with memory.opened("host") as state:
            if way == "return" and (left := [hop for hop in state.pop("aside", []) if hop != address]):
                state["aside"] = left
        _, ready, *others = [*answer.split(), "", ""]
        if way == "return" and ready == "Ready":

            def missing() -> str:
                with memory.opened("host") as state:
                    conf = state.get("frr", "")
                sessions = self.sessions(conf)
                fine = address in sessions or not sessions.keys() & {*others}
                return "" if fine else f"sessions with {', '.join(sessions)} only"

            await_(120, f"the session with {address}, as other nodes have one", missing)
        return answer

    def node_drain_sh(self, stdin: str, name: str, limit: str) -> str:
        with memory.opened("host") as state:
            if len(members(state)) > 1:
                state["cluster"]["cordoned"] = [*state["cluster"].get("cordoned", []), name]
        return ""

    def node_joined_sh(self, stdin: str, name: str, limit: str) -> str:
        def seen() -> str:
            return "" if name in self.joined() else f'Error from server (NotFound): nodes "{name}" not found'

        await_(float(limit), f"node {name} in the cluster", seen)
        with memory.opened("host") as state:
            state["cluster"]["cordoned"] = [its for its in state["cluster"].get("cordoned", []) if its != name]
        joined = self.joined()
        others = [node.address for node in nodes(self.lxd).values() if node.name in {*joined} - {name}]
        with memory.opened("kubernetes") as objects:
            return " ".join([name, "Ready", *others]) if cilium(objects) else f"{name} NotReady"

    def node_remove_sh(self, stdin: str, name: str, limit: str) -> str:
        if self.cluster()["members"].keys() != {name}:  # else it goes with the cluster
            self.node_forget_sh(stdin, name, "")
        return ""

    def node_forget_sh(self, stdin: str, name: str, machine: str) -> str:
        self.cluster()
        with memory.opened("host") as state:
            cluster = state["cluster"]
            if name in cluster["nodes"] and machine_id(cluster["nodes"][name]["id"]) != machine:
                if cluster["members"].keys() == {name}:  # k3s keeps its node while etcd has it, its last member
                    raise ExitError(f"the former {name} is still in the cluster after 120 s")
                del cluster["nodes"][name]
                cluster["members"].pop(name, None)
        return str(cluster["ca"])

    def cilium_ready_sh(self, stdin: str, limit: str, revision: str, names: str, *workloads: str) -> str:
        def seen(workload: str) -> str:
            name = workload.partition("/")[2]
            with memory.opened("kubernetes") as state:
                runs = workloads_of(cilium(state))
            if workload not in runs or workload in memory.faults("hang"):
                return f'"{name}" not found'
            # Each wants a node of its own, and waits for it for ever.
            wanted, running = runs[workload], len(self.joined())
            return "" if wanted <= running else f"{running} of {wanted} updated replicas of {name} are available"

        for workload in workloads:
            await_(float(limit), workload, lambda workload=workload: seen(workload))  # type: ignore[misc]
        for name in names.split():
            if name not in self.joined():
                raise ExitError(f"node {name} Ready: not within {limit} s; pods, events and last log lines are above")
        return f"revision {revision} on {names}: {' '.join(workloads)}"

    def object_is_ours_sh(self, stdin: str, kind: str, namespace: str, name: str) -> str:
        with memory.opened("kubernetes") as state:
            its, _, version = kind.partition(".")
            if not served(state, {"apiVersion": "/".join(reversed(version.partition(".")[::2]))}):
                raise ExitError(f'error: the server doesn\'t have a resource type "{its}"')
            objects = {key.lower(): live for key, live in state.get("objects", {}).items()}
        singular = kind.partition(".")[0].lower()
        found = objects.get(f"{singular}/{namespace}/{name}") or objects.get(f"{singular}//{name}")
        if found and found["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != "cilium-bgp":
            raise ExitError(f"{kind} {name} in namespace {namespace} is there already and is not the stack's …")
        return ""

    def helm_forget_sh(self, stdin: str, namespace: str, release: str, before: str) -> str:
        self.cluster()
        with memory.opened("kubernetes") as state:
            stored = state.get("releases", {}).get(f"{namespace}/{release}")
            if stored and (before == "create" or stored["info"]["status"] == "pending-install"):
                del state["releases"][f"{namespace}/{release}"]
            elif stored and stored["info"]["status"].startswith("pending-"):
                stored["info"]["status"], stored["version"] = "deployed", stored["version"] - 1
        return ""

    def crds_established_sh(self, stdin: str, limit: str, version: str, *plurals: str) -> str:
        def seen() -> str:
            with memory.opened("kubernetes") as state:
                if version in state.get("served", []):
                    return ""
                register(state)
            return f"{version} has no {plurals[0]}"

        await_(float(limit), f"kind {plurals[0]} in {version}, which cilium-operator registers", seen)
        return f"{version}: {' '.join(plurals)}"

    def l7_check_sh(self, stdin: str, limit: str, namespace: str) -> str:
        def seen() -> str:
            with memory.opened("kubernetes") as state:
                values = (cilium(state) or {}).get("config") or {}
                wanted = {f"Deployment/{namespace}/client", f"Deployment/{namespace}/echo-service"}
                service = state.get("objects", {}).get(f"Service/{namespace}/echo-service", {"metadata": {}})
                balanced = service["metadata"].get("annotations", {}).get("service.cilium.io/lb-l7") == "enabled"
                there = balanced and wanted <= state["objects"].keys()
            backend = values.get("loadBalancer", {}).get("l7", {}).get("backend")
            return "" if there and backend == "envoy" else "no resources found"

        await_(float(limit), f"a CiliumEnvoyConfig cilium-envoy-lb-… for {namespace}/echo-service", seen)
        return "HTTP/1.1 200 OK"

    def pod_ranges_py(self, stdin: str, seconds: str, cluster: str, *wanted: str) -> str:
        import ipaddress  # noqa: PLC0415

        def ranges() -> dict[str, list[ipaddress.IPv4Network]]:
            names = self.joined()
            with memory.opened("host") as state, memory.opened("kubernetes") as objects:
                if not cilium(objects):
                    return {}
                return {name: [ipaddress.IPv4Network(state["nodes"][id_]["pods"])] for name, id_ in names.items()}

        program = script_program("pod_ranges.py", ranges=ranges)
        return program(float(seconds), ipaddress.IPv4Network(cluster), list(wanted))

    def load_balancer_ips_py(self, stdin: str, seconds: str, pool: str, *wanted: str) -> str:
        import ipaddress  # noqa: PLC0415

        def load_balancers() -> dict[str, list[str]]:
            self.cluster()
            with memory.opened("kubernetes") as state:
                settle(state)  # Cilium never stops trying
                services = [o for o in state["objects"].values() if o["kind"] == "Service"]
            return {
                f"{it['metadata']['namespace']}/{it['metadata']['name']}": [
                    ingress["ip"] for ingress in it.get("status", {}).get("loadBalancer", {}).get("ingress", [])
                ]
                for it in services
                if it["spec"].get("type") == "LoadBalancer"
            }

        program = script_program("load_balancer_ips.py", load_balancers=load_balancers)
        return program(float(seconds), ipaddress.IPv4Network(pool), list(wanted))

    def at_home(self) -> Node:
        if self.node is None:
            raise ExitError("k3s: not found", 127)
        return self.node

    def own(self) -> "OpenedNode":
        return OpenedNode(self.at_home().id)

    def cluster(self, refusal: str = "The connection to the server 127.0.0.1:6443 was refused") -> Json:
        """The cluster whose server this node is. Errors: ExitError, it is none, with the refusal."""
        node = self.at_home()
        with memory.opened("host") as state:
            if not self.serves(state, node.name):
                raise ExitError(refusal)
            return dict(state["cluster"])

    def joined(self) -> dict[str, str]:
        """Instance of each node of the cluster. Errors: ExitError."""
        self.cluster()
        with memory.opened("host") as state:
            return members(state)


class OpenedNode:
    """What a node remembers, kept if the block ends well."""

    def __init__(self, id_: str) -> None:
        self.id, self.opened = id_, memory.opened("host")

    def __enter__(self) -> Json:
        its: Json = self.opened.__enter__().setdefault("nodes", {}).setdefault(self.id, {})
        return its

    def __exit__(self, *error: Any) -> None:
        self.opened.__exit__(*error)


@dataclass(frozen=True)
class Call:
    """A script, its arguments, and the seconds after which it is ended."""

    script: str
    arguments: list[str]
    seconds: float


def called(command: str) -> Call:
    """What `components.remote.Script` put into this command line. Errors: ExitError, it is something else."""
    words = shlex.split(command)
    return parsed(words[2:] if words[:2] == ["sudo", "-n"] else words)


def parsed(words: list[str]) -> Call:
    if words[:3] != ["timeout", "-k", "10"]:
        raise ExitError(f"{shlex.join(words)[:40]!r}: not simulated; only the program's own scripts are", 127)
    return program(words[8:], float(words[3]))  # between them what keeps it alone


def program(words: list[str], seconds: float) -> Call:
    interpreter, _, text, *rest = words
    if interpreter == "sh":
        return Call(rest[0], rest[1:], seconds)
    file = next((file.name for file in SCRIPTS.glob("*.py") if text.endswith(file.read_text())), None)
    if file is None:  # before it may be what it imports
        raise ExitError("a Python program that is none of components/scripts: not simulated", 127)
    return Call(file, rest, seconds)


def machine_id(instance: str) -> str:
    """What systemd in the instance with this UUID calls the machine, machine-id(5)."""
    return instance.replace("-", "")


def split_token(token: str) -> tuple[str, str]:
    """Secret and hash of the authority ("": none) of a join token, K10HASH::USER:SECRET or SECRET."""
    if not token.startswith("K10"):
        return token, ""
    authority, _, credentials = token.removeprefix("K10").partition("::")
    return credentials.partition(":")[2], authority


def quorum(state: Mapping[str, Any]) -> bool:
    """Whether etcd has a majority: most members' instances are there."""
    its = state.get("cluster", {}).get("members", {})
    alive = [id_ for id_ in its.values() if id_ in state.get("nodes", {})]
    return 2 * len(alive) > len(its)


def loaded(file: str, **pretended: Any) -> Any:
    """The script as a module, in pretend time, with these of its functions replaced."""
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), SCRIPTS / file)
    if spec is None or spec.loader is None:
        raise ExitError(f"{file}: not simulated", 127)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(pretended, time=clock)
    return module


def script_program(file: str, **pretended: Any) -> Callable[..., str]:
    """The script's own `main`, in pretend time, with these of its functions replaced."""
    module = loaded(file, **pretended)

    def main(*arguments: Any) -> str:
        try:
            return str(module.main(*arguments))
        except SystemExit as end:
            raise ExitError(str(end.code)) from None

    return main


def await_(limit: float, what: str, seen: Callable[[], str]) -> None:
    """Until nothing is `seen` to be missing any more, as lib.sh's await."""
    end = clock.monotonic() + limit
    while last := seen():
        if clock.monotonic() >= end:
            raise ExitError(f"{what}: not within {limit:.0f} s; last seen: {last}")
        clock.sleep(5)


def known(cluster: Json, node: Node, its: Json) -> None:
    """Let the cluster know this node; a new one gets a range for its pods, never one that another has had."""
    if cluster["nodes"].get(node.name, {}).get("id") != node.id:
        its["pods"] = f"10.42.{cluster.setdefault('ranges', 0)}.0/24"
        cluster["ranges"] += 1
    cluster["nodes"][node.name] = {"id": node.id, "password": its["password"]}


def members(state: Mapping[str, Any]) -> dict[str, str]:
    """Instance of each node of the cluster that is there, by its name there."""
    hanging = memory.faults("hang")
    return {
        name: its["id"]
        for name, its in state.get("cluster", {}).get("nodes", {}).items()
        if its["id"] in state.get("nodes", {}) and f"{name}/join" not in hanging
    }


def workloads_of(release: Json | None) -> dict[str, int]:
    """What Cilium's chart runs, and on how many nodes each needs one to itself."""
    if release is None:
        return {}
    values, version = release["config"], release["chart"]["metadata"]["version"]
    hubble, operator = values.get("hubble", {}), values.get("operator", {})
    runs = {"daemonset/cilium": 0, "deployment/cilium-operator": operator.get("replicas", 2)}
    runs |= {f"deployment/hubble-{part}": 0 for part in ("relay", "ui") if hubble.get(part, {}).get("enabled")}
    envoy = values.get("envoy", {}).get("enabled")
    if values.get("l7Proxy", True) and (version >= "1.16" if envoy is None else envoy):
        runs["daemonset/cilium-envoy"] = 0
    return runs


def cilium(state: Mapping[str, Any]) -> Json | None:
    """The release, if it is deployed."""
    found: Json | None = state.get("releases", {}).get("kube-system/cilium")
    return found if found and found["info"]["status"] == "deployed" else None
