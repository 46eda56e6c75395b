"""What was seen, judged layer by layer: the first broken one is told, and what lies behind it is not looked at."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from settings import versions
from status.finding import Finding, Layer
from status.stack import Stack

Said = Iterator[str | Finding]
"""What is seen, and what is not well."""
HOST = "host"
OF_THE_NETWORK = ("cni", "network plugin", "NetworkPluginNotReady")
"""In kubelet's words: what a node waits for that has no agent of Cilium's."""


def judge(stack: Stack, seen: Mapping[str, Any] | Finding) -> list[Layer]:
    """`seen`: what `status.look` has seen, or why it could see nothing."""
    if isinstance(seen, Finding):
        found = [Layer(HOST, "broken", findings=[seen])]
    else:
        found = [Layer(HOST, "well", [stack.ssh])]
    for name, layer in LAYERS.items():
        if isinstance(seen, Finding) or found[-1].state != "well":
            found.append(Layer(name, "not looked at"))
            continue
        on = On(stack, seen)
        said = list(layer(on))
        findings = [its for its in said if isinstance(its, Finding)]
        if not stack.outputs:
            again = f"the first `up` has not ended well: run {on.pulumi('up')} again. Where that does not help: "
            findings = [Finding(its.what, again + its.fix) for its in findings]
        lines = [its for its in said if isinstance(its, str)]
        found.append(Layer(name, "broken" if findings else "well", lines, findings))
    return found


@dataclass(frozen=True)
class On:
    """What was seen of a stack, and the lines that one types there."""

    stack: Stack
    seen: Mapping[str, Any]

    def host(self, command: str) -> str:
        """The line for a command as root on the host."""
        return f"`{self.stack.ssh} {'' if self.stack.root else 'sudo '}{command}`"

    def node(self, name: str, command: str) -> str:
        """The line for a command in a node."""
        return self.host(f"lxc exec --project {self.project(name)} {name} -- {command}")

    def kubectl(self, command: str) -> str:
        """The line for kubectl on a server."""
        server = next(name for name, its in self.seen["instances"].items() if its.get("unit") == "k3s")
        return self.node(server, f"k3s kubectl {command}")

    def pods(self, service: str) -> str:
        """The line that shows what is behind a Service."""
        return self.kubectl(f"-n {service.partition('/')[0]} get pods,events -o wide")

    def pulumi(self, arguments: str) -> str:
        return f"`pulumi {arguments} --stack {self.stack.name}`"

    def project(self, node: str) -> str:
        return str(self.seen["instances"][node]["project"])


def failure(part: Any) -> str:
    """Why it could not be seen; nothing if it was."""
    error = part.get("error") if isinstance(part, dict) else None
    return error if isinstance(error, str) else ""


def lxd(on: On) -> Said:
    if error := failure(on.seen["instances"]):
        start = f"{on.host('systemctl restart lxd')}, of the snap {on.host('snap restart lxd')}"
        yield Finding(f"LXD on the host does not answer: {error}", start)
        return
    for name, address in on.stack.nodes.items():
        its = on.seen["instances"].get(name)
        if its is None:
            again = f"it is made anew by {on.pulumi('up --refresh')}"
            yield Finding(f"{name}: there is no instance with its address, {address}", again)
        elif its["status"] != "Running":
            start = on.host(f"lxc start --project {its['project']} {its['name']}")
            yield Finding(f"{name}: its instance is {its['status']}", f"start it: {start}")
        elif "error" in its:
            start = on.host(f"lxc restart --force --project {its['project']} {its['name']}")
            yield Finding(f"{name}: LXD starts nothing in it: {its['error']}", f"restart it: {start}")
        else:
            yield f"{name} ({address}) runs"


def k3s(on: On) -> Said:
    cluster = on.seen["cluster"]
    silent = failure(cluster)
    for name in on.stack.nodes:
        its = on.seen["instances"][name]
        unit, state = its["unit"], its["state"]
        journal = on.node(name, f"journalctl -u {unit} -n 50 --no-pager")
        if not unit:
            anew = f"if that changes nothing, make the node anew by another nodes.{name}.generation"
            yield Finding(f"{name}: it has no k3s", f"install it: {on.pulumi('up')}; {anew}")
        elif state != "active":
            start = on.node(name, f"systemctl restart {unit}")
            yield Finding(f"{name}: its {unit} is {state}", f"start it: {start}; why it ended: {journal}")
        elif not silent and (node := cluster["nodes"].get(name)) is None:
            start = on.node(name, f"systemctl restart {unit}")
            yield Finding(f"{name}: the cluster does not know it", f"let it join: {start}; what it says: {journal}")
        elif not silent and not node["ready"] and not any(word in node["said"] for word in OF_THE_NETWORK):
            start = on.node(name, f"systemctl restart {unit}")
            yield Finding(f"{name}: it is not Ready: {node['said']}", f"{start}; what it says: {journal}")
        elif not silent:
            cordoned = ", and takes no new pods: it is cordoned" if node["cordoned"] else ""
            yield f"{name} runs {node['version']}{until(node['version'])}{cordoned}"
    if silent:
        yield Finding(
            f"no server answers: {silent}",
            "most servers must run, or etcd has no leader: docs/operations.md says what to do without them",
        )
    elif error := failure(on.seen["endpoint"]) or on.seen["endpoint"]:
        what = f"the API does not answer where the host passes it on ({on.stack.endpoint}): {error}"
        yield Finding(what, f"start that: {on.host(f'systemctl restart {on.stack.endpoint}')}")


def cilium(on: On) -> Said:
    agents, operator = on.seen["cluster"]["agents"], on.seen["cluster"]["operator"]
    if not agents and operator is None:
        yield Finding("the cluster has no Cilium", f"install it: {on.pulumi('up --refresh')}")
        return
    for name in on.stack.nodes:
        its = agents.get(name)
        if its is None:
            what = on.kubectl("-n kube-system describe daemonset/cilium")
            yield Finding(f"{name}: no agent of Cilium's runs on it", f"why: {what}")
        elif not its["ready"]:
            anew = on.kubectl(f"-n kube-system delete pod {its['pod']}")
            log = on.kubectl(f"-n kube-system logs {its['pod']} -c cilium-agent --tail=50")
            yield Finding(
                f"{name}: its agent of Cilium's, {its['pod']}, is not ready: {its['said']}",
                f"start another: {anew}; what it says: {log}",
            )
        else:
            yield f"{name} has an agent{' of ' if its['version'] else ''}{its['version']}{fixed(its['version'])}"
    if not operator:
        anew = on.kubectl("-n kube-system rollout restart deployment/cilium-operator")
        yield Finding("Cilium's operator, which gives the addresses, is not available", f"start it anew: {anew}")


def bgp(on: On) -> Said:
    sessions, upstreams = on.seen["sessions"], on.seen["upstreams"]
    if error := failure(sessions) or failure(upstreams):
        yield Finding(
            f"the router on the host (FRR) does not answer: {error}",
            f"start it: {on.host('systemctl restart frr')}; why it ended: {on.host('journalctl -u frr -n 50')}",
        )
        return
    for name, its in sessions.items():
        if its["state"] == "Established":
            yield f"{name} has a session and tells {its['prefixes']} prefixes"
            continue
        agent = on.kubectl(f"-n kube-system delete pod {on.seen['cluster']['agents'][name]['pod']}")
        back = on.pulumi("up --replace '**::router-frr' --replace '**::firewall-rules'")
        yield Finding(
            f"{name} ({its['address']}): its BGP session is {its['state']}",
            f"start its agent anew: {agent}. If that does not help, have router and firewall as the stack has them: "
            f"{back}; what the router says: {on.host('journalctl -u frr -n 50')}",
        )
    for name, its in upstreams.items():
        if its["state"] == "Established":
            yield f"upstream {name} has a session and is told {len(its['told'])} prefixes"
        else:
            asked = f"show bgp neighbors {its['address']}"
            yield Finding(
                f"upstream {name} ({its['address']}): its BGP session is {its['state']}",
                "is it on, and is this host its neighbor there, with the same ASNs and password? What the router says: "
                f"{on.host(f'vtysh -c {asked!r}')}",
            )


def routes(on: On) -> Said:
    names = {address: name for name, address in on.stack.nodes.items()}
    services = on.seen["cluster"]["services"]
    for service, address in given(on).items():
        hops = on.seen["routes"][address]
        if error := failure(hops):
            yield Finding(f"{service} ({address}): its route could not be looked at: {error}", "try again")
        elif hops:
            yield f"{address} ({service}) by {', '.join(names.get(hop, hop) for hop in hops)}"
        elif service not in on.stack.addresses:
            yield f"{address} ({service}), not of this stack, has no route"
        elif not services[service]["endpoints"]:
            yield Finding(
                f"{service} ({address}): no BGP route, for none of its pods is ready",
                f"look at them: {on.pods(service)}",
            )
        else:
            yield Finding(
                f"{service} ({address}): no BGP route in the host's kernel, though its pods are ready",
                f"have it told anew: {on.kubectl('-n kube-system rollout restart daemonset/cilium')}",
            )


def answers(on: On) -> Said:
    services = on.seen["cluster"]["services"]
    for service in sorted(on.stack.addresses.keys() - services.keys()):
        yield Finding(f"{service}: there is no such Service", f"it is made anew by {on.pulumi('up --refresh')}")
    for service, its in services.items():
        ours, addresses = service in on.stack.addresses, its["addresses"]
        if len(addresses) == 1:
            code = on.seen["answers"][service]
            if code in (200, ""):
                yield f"{service} answers at {addresses[0]}"
                continue
            why = str(code) if its["endpoints"] else "none of its pods is ready"
            what = f"{service}: {addresses[0]} does not answer: {why}"
            fix = f"look at its pods: {on.pods(service)}"
        elif addresses:
            what = f"{service}: {', '.join(addresses)}; Cilium announces only a Service with one address"
            fix = "is servicelb on? Another that gives addresses must not be"
        else:
            what = f"{service}: it has no address"
            operator = on.kubectl("-n kube-system rollout restart deployment/cilium-operator")
            fix = f"is bgp.pool full? Make it larger; else have Cilium give one: {operator}"
        yield Finding(what, fix) if ours else f"{what}; not of this stack"


LAYERS: dict[str, Callable[[On], Said]] = {
    "LXD": lxd,
    "k3s": k3s,
    "Cilium": cilium,
    "BGP": bgp,
    "routes": routes,
    "Services": answers,
}


def given(on: On) -> dict[str, str]:
    """The address of each Service that has one; what has none, or several, is `answers`' to tell."""
    return {
        service: its["addresses"][0]
        for service, its in on.seen["cluster"]["services"].items()
        if len(its["addresses"]) == 1
    }


def until(release: str) -> str:
    """Until when a release of k3s gets fixes."""
    end = versions.KUBERNETES_ENDS.get(versions.minor(release)) if release else None
    if end is None:
        return ""
    return f" (fixed until {end})" if date.today() <= date.fromisoformat(end) else f" (no fixes since {end})"


def fixed(release: str) -> str:
    """Whether a release of Cilium gets fixes."""
    if not release or versions.minor(release) >= versions.FIXED_CILIUM:
        return ""
    return f" (no fixes any more, as of {versions.AS_OF})"
