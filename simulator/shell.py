"""What the shells of the pretend host and its nodes answer to the program's own scripts, and to nothing else.

Each answers what its script prints, from what the scripts before it left (host.json, see `memory`), and fails as the
script would where that is missing. A fault's KEY is SCRIPT or NODE/SCRIPT, e.g. `frr.sh` or `k3s2/k3s_install.sh`: it
fails with the message, or hangs until its own `timeout` ends it. Failing `installer` is k3s's; hanging k3s2/unit never
becomes active, k3s2/join never joins, k3s2/session never establishes, nor does upstream/ADDRESS. Failing "frr" is a
bgpd that does not run, failing "endpoint" an endpoint of the API that passes nothing on.
"""

import ipaddress
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncssh
import yaml

from components.cluster_identity import numbers
from simulator import bgp, clock, memory
from simulator.cluster import balancers, certificate, cilium, identity, ips, register, served, settle, workloads_of
from simulator.inside import Inside
from simulator.k3s import Node, members, nodes, not_active, serves
from simulator.lxd_api import LxdApi
from simulator.script import TIMED_OUT, Call, ExitError, await_, loaded, parsed, program, script_program

SOCKET = "/var/lib/lxd/unix.socket"
READING = ("frr.sh", "k3s_install.sh", "ngrok.sh")
"""Scripts that read standard input; the others' may stay open for ever."""

Json = dict[str, Any]


def machine_id(instance: str) -> str:
    """What systemd in the instance with this UUID calls the machine, machine-id(5)."""
    return instance.replace("-", "")


def forgets(*keys: str) -> Callable[..., str]:
    """The answer of a script, without arguments, that takes back what another one left on the host."""

    def answer(shell: "Shell", stdin: str) -> str:
        with memory.opened("host") as state:
            for key in keys:
                state.pop(key, None)
        return ""

    return answer


@dataclass(frozen=True)
class Shell:
    """Of the host, or of one node."""

    lxd: LxdApi
    node: Node | None = None

    def run(self, call: Call, stdin: str) -> str:
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

    host_release_sh = forgets("owner")

    def authorized_keys_sh(self, stdin: str, user: str, machine: str, *keys: str) -> str:
        with memory.opened("host") as state:
            state["authorized_keys"] = list(keys)
        return ""

    def booted_sh(self, stdin: str) -> str:
        return str(memory.read("host").get("boot", "first start"))

    def lxd_install_sh(self, stdin: str, limit: str) -> str:
        with memory.opened("host") as state:
            state["lxd"] = True
        return SOCKET

    def kernel_prepare_sh(self, stdin: str, *modules: str) -> str:
        with memory.opened("host") as state:
            state["kernel"] = list(modules)
        return ",".join(modules)

    kernel_restore_sh = forgets("kernel")

    def ssh_key_sh(self, stdin: str) -> str:
        with memory.opened("host") as state:
            if "ssh_key" not in state:
                public = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
                state["ssh_key"] = " ".join(public.split()[:2])
            return str(state["ssh_key"])

    ssh_key_remove_sh = forgets("ssh_key")

    def firewall_sh(self, stdin: str, bridge: str, *arguments: str) -> str:
        _gateway, _api_port, pool, open_to, *nodes = arguments
        with memory.opened("host") as state:
            state["firewall"], state["open"] = list(nodes), open_to
        return f"{bridge}: BGP from {', '.join(nodes)}{open_to and f'; {pool} for {open_to}'}"

    firewall_remove_sh = forgets("firewall")

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

        def missing(node: str, range_: str) -> str:
            sessions = self.sessions()
            state = "Established" if node in sessions else "Active"
            return "" if range_ in sessions.get(node, []) else f"BGP state = {state}"

        for node, range_ in ranges:
            await_(float(limit), f"a route to {range_}, the pods of {node}", partial(missing, node, range_))
        return " ".join(pairs)

    frr_restore_sh = forgets("frr", "aside")

    def ngrok_sh(self, stdin: str, address: str) -> str:
        if not stdin.strip():
            await_(60, "a public URL from ngrok's local API (127.0.0.1:14040)", lambda: "nothing")
        with memory.opened("host") as state:
            state["ngrok"] = address
        return "https://simulated.ngrok-free.example"

    ngrok_remove_sh = forgets("ngrok")

    def proof_py(self, stdin: str, *arguments: str) -> str:
        return script_program("proof.py", output=self.output, status=self.status)(arguments)

    def output(self, *command: str) -> Json | list[Json]:
        """What vtysh and ip say of sessions and routes."""
        sessions = self.sessions()
        if command[0] == "vtysh":
            if message := memory.faults("fail").get("frr"):
                raise subprocess.CalledProcessError(1, command, stderr=message)
            conf = memory.read("host").get("frr", "")
            router = bgp.router(conf)
            told = bgp.told(conf, {route for routes in sessions.values() for route in routes})
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
            if message := memory.faults("fail").get("endpoint"):
                raise OSError(message)
            state = memory.read("host")
            served = any(serves(self.lxd, state, its) for its in state.get("endpoint", {}).get("servers", []))
            return "" if served else "it closes the connection"

        proof = loaded("proof.py", output=self.output)
        return script_program(
            "status.py",
            Lxd=lambda _path: Inside(self.lxd),
            endpoint=endpoint,
            sessions=proof.sessions,
            upstreams=proof.upstreams,
            next_hops=proof.next_hops,
            status=self.status,
            opened=lambda address, _port: "" if self.routed(address) else "timed out",
        )(arguments)

    def urls_py(self, stdin: str, seconds: str, urls: str, *http: str) -> str:
        def status(url: str) -> int:
            state = memory.read("host")
            shown, opened = {"https://simulated.ngrok-free.example": state.get("ngrok", "")}, state.get("open")
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
        return any(f"{address}/32" in routes for routes in self.sessions().values())

    def sessions(self) -> dict[str, list[str]]:
        """Routes by the address of each node that has a session."""
        with memory.lock:
            state, cluster = memory.read("host"), memory.read("kubernetes")
        joined, conf, release = members(state), state.get("frr", ""), cilium(cluster)
        objects, hanging, router = cluster.get("objects", {}), memory.faults("hang"), bgp.router(conf)
        announced = release is not None and bgp.announces_pods(release.get("config") or {}, objects)
        agents = {
            node.address: [state["nodes"][node.id]["pods"]] if announced else []
            for node in nodes(self.lxd).values()
            if release and joined.get(node.name) == node.id
            if not {f"{node.name}/session", f"{node.name}/agent", "daemonset/cilium"} & set(hanging)
            if node.address in state.get("firewall", [])
        }
        sessions = bgp.sessions(conf, objects, release["config"] if release else {}, agents)
        # Cilium of a former cluster speaks on until its node has joined the present one.
        for node in nodes(self.lxd).values():
            if node.id in state.get("left", []) and router and node.address in router.neighbors:
                sessions.setdefault(node.address, [])
        return {address: [] if address in state.get("aside", []) else routes for address, routes in sessions.items()}

    def support_sh(self, stdin: str, *nodes: str) -> str:
        """Logs may quote anything: these quote all secrets that the host has."""
        state = memory.read("host")
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
        if config.get("cluster-reset-restore-path", "") not in ["", *memory.read("host").get("snapshots", {})]:
            raise ExitError(f"there is no snapshot {snapshot} in k3s.snapshots.folder")
        await_(float(limit), f"{unit} on {node.name} active", lambda: not_active(self.lxd, node, config))
        with self.own() as its:
            its["ran"] = True
        return f"k3s version {version} (simulated)"

    def k3s_snapshot_sh(self, stdin: str) -> str:
        with memory.opened("host") as state, memory.opened("kubernetes") as objects:
            taken = state.setdefault("snapshots", {})
            name = f"on-demand-{self.at_home().name}-{1796000000 + len(taken)}"
            taken[name] = {key: state["cluster"][key] for key in ("ca", "token")} | {"objects": deepcopy(objects)}
        return name

    def k3s_token_sh(self, stdin: str) -> str:
        state = memory.read("host")
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
            state = memory.read("host")
            names = state.get("endpoint", {}).get("servers", [])
            return next((present[name] for name in names if name in present and serves(self.lxd, state, name)), None)

        kept = memory.read("host").get("nodes", {})
        if without == "skip" and not any(kept.get(node.id, {}).get("datastore") for node in present.values()):
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
        used = {hop for hop, routes in self.sessions().items() if routes}
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
                sessions = self.sessions()
                fine = address in sessions or not sessions.keys() & {*others}
                return "" if fine else f"sessions with {', '.join(sessions)} only"

            await_(120, f"the session with {address}, as other nodes have one", missing)
        return answer

    def node_drain_sh(self, stdin: str, name: str, limit: str) -> str:
        return ""

    def node_joined_sh(self, stdin: str, name: str, limit: str) -> str:
        def seen() -> str:
            return "" if name in self.joined() else f'Error from server (NotFound): nodes "{name}" not found'

        await_(float(limit), f"node {name} in the cluster", seen)
        joined = self.joined()
        others = [node.address for node in nodes(self.lxd).values() if node.name in {*joined} - {name}]
        return " ".join([name, "Ready", *others]) if cilium(memory.read("kubernetes")) else f"{name} NotReady"

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
            runs = workloads_of(cilium(memory.read("kubernetes")))
            if workload not in runs or workload in memory.faults("hang"):
                return f'"{name}" not found'
            # Each wants a node of its own, and waits for it for ever.
            wanted, running = runs[workload], len(self.joined())
            return "" if wanted <= running else f"{running} of {wanted} updated replicas of {name} are available"

        for workload in workloads:
            await_(float(limit), workload, partial(seen, workload))
        for name in names.split():
            if name not in self.joined():
                raise ExitError(f"node {name} Ready: not within {limit} s; pods, events and last log lines are above")
        return f"revision {revision} on {names}: {' '.join(workloads)}"

    def object_is_ours_sh(self, stdin: str, kind: str, namespace: str, name: str) -> str:
        state, (its, _, version) = memory.read("kubernetes"), kind.partition(".")
        if not served(state, {"apiVersion": "/".join(reversed(version.partition(".")[::2]))}):
            raise ExitError(f'error: the server doesn\'t have a resource type "{its}"')
        objects = {key.lower(): live for key, live in state.get("objects", {}).items()}
        found = objects.get(f"{its}/{namespace}/{name}".lower()) or objects.get(f"{its}//{name}".lower())
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
            state = memory.read("kubernetes")
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
        def ranges() -> dict[str, list[ipaddress.IPv4Network]]:
            names, its = self.joined(), memory.read("host")["nodes"]
            agents = names if cilium(memory.read("kubernetes")) else {}
            return {name: [ipaddress.IPv4Network(its[id_]["pods"])] for name, id_ in agents.items()}

        program = script_program("pod_ranges.py", ranges=ranges)
        return program(float(seconds), ipaddress.IPv4Network(cluster), list(wanted))

    def load_balancer_ips_py(self, stdin: str, seconds: str, pool: str, *wanted: str) -> str:
        def load_balancers() -> dict[str, list[str]]:
            self.cluster()
            with memory.opened("kubernetes") as state:
                settle(state)  # Cilium never stops trying
                return {"/".join(identity(its)): ips(its) for its in balancers(state["objects"])}

        program = script_program("load_balancer_ips.py", load_balancers=load_balancers)
        return program(float(seconds), ipaddress.IPv4Network(pool), list(wanted))

    def at_home(self) -> Node:
        if self.node is None:
            raise ExitError("k3s: not found", 127)
        return self.node

    @contextmanager
    def own(self) -> Iterator[Json]:
        """What this node remembers, kept if the block ends well."""
        with memory.opened("host") as state:
            yield state.setdefault("nodes", {}).setdefault(self.at_home().id, {})

    def cluster(self, refusal: str = "The connection to the server 127.0.0.1:6443 was refused") -> Json:
        """The cluster whose server this node is. Errors: ExitError, it is none, with the refusal."""
        state = memory.read("host")
        if not serves(self.lxd, state, self.at_home().name):
            raise ExitError(refusal)
        return dict(state["cluster"])

    def joined(self) -> dict[str, str]:
        """Instance of each node of the cluster. Errors: ExitError."""
        self.cluster()
        return members(memory.read("host"))
