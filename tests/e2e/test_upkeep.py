"""What is planned, at 50 requests a second: which of them fail.

One server and two agents in control-plane mode, on a stack of its own. Takes half an hour; not part of `.ci/run`.
"""

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Collection

import pytest
import yaml
from cryptography import x509

from lab import images, machine, programs, stack
from tests.e2e.stack import HOST, NODES, Load, Stack, check_all, on_node, set_value, unchanged, until, up

pytestmark = pytest.mark.e2e

DAY = 86400
LEFT = ("k3s1", "k3s2")
SHORT_LIVED = """set -e
cd /var/lib/rancher/k3s/server/tls
openssl req -x509 -days 30 -subj /O=system:masters/CN=system:admin -key admin.key -CA client-ca.crt \\
    -CAkey client-ca.key -addext extendedKeyUsage=clientAuth -addext basicConstraints=CA:FALSE -out admin.crt
sed -i "s/client-certificate-data: .*/client-certificate-data: $(base64 -w 0 admin.crt)/" /etc/rancher/k3s/k3s.yaml
"""
BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "all", "namespace": "default"},
    "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "fcdemo3"}}},
}


@pytest.fixture(scope="module")
def lab() -> Stack:
    if os.environ.get("KEEP") != "1":
        assert stack.main("destroy") == 0
    stack.prepare("control-plane", host="prepared")
    up()
    return Stack()


def configured(
    nodes: Collection[str] = tuple(NODES), k3s: str = programs.K3S_NEXT, cilium: str = programs.CILIUM_VERSION
) -> None:
    """The stack with these nodes, of which k3s2 has been made anew, these versions, and little patience for a drain."""
    stack.configure("control-plane", nodes)
    content = yaml.safe_load(stack.CONFIG.read_text())
    content["config"]["cilium-bgp:k3s"] |= {"version": k3s, "drainTimeoutSeconds": 30}
    chart = programs.cilium_source(cilium) / stack.CHART
    content["config"]["cilium-bgp:cilium"] |= {"version": cilium, "chart": str(chart)}
    content["config"]["cilium-bgp:nodes"]["k3s2"]["generation"] = 2
    stack.CONFIG.write_text(yaml.safe_dump(content, sort_keys=False))


def whole(lab: Stack, nodes: Collection[str] = tuple(NODES)) -> bool:
    check_all(lab, nodes=nodes)
    assert not [node for node in lab.kubectl("get", "nodes")["items"] if node["spec"].get("unschedulable")]
    return True


def reload_frr(_: Stack) -> None:
    for _time in range(5):
        HOST.run("systemctl", "reload", "frr")


def restart_agents(lab: Stack) -> None:
    on_node("k3s1", "k3s", "kubectl", "-n", "kube-system", "rollout", "restart", "daemonset/cilium")
    on_node("k3s1", "k3s", "kubectl", "-n", "kube-system", "rollout", "status", "daemonset/cilium", "--timeout=300s")


def make_a_node_anew(_: Stack) -> None:
    configured(k3s=programs.K3S_VERSION)
    up()


def upgrade(_: Stack) -> None:
    configured()
    up()
    assert {on_node(node, "k3s", "--version").split()[2] for node in NODES} == {programs.K3S_NEXT}


def remove_a_node(_: Stack) -> None:
    configured(LEFT)
    up()


def add_a_node(_: Stack) -> None:
    configured()
    up()


def agents() -> set[str]:
    """Versions that Cilium's agents say of themselves."""
    kubectl = ["k3s", "kubectl", "-n", "kube-system"]
    pods = on_node("k3s1", *kubectl, "get", "pods", "-l", "k8s-app=cilium", "-o", "name").split()
    said = [on_node("k3s1", *kubectl, "exec", pod, "-c", "cilium-agent", "--", "cilium-dbg", "version") for pod in pods]
    return {line.split()[1] for each in said for line in each.splitlines() if line.startswith("Daemon:")}


def bring_an_earlier_cilium(_: Stack) -> None:
    """Down a patch release, whose images the nodes are given: no registry can be reached."""
    into = ["lxc", "exec", "--project", machine.PROJECT, HOST.name, "--", "lxc", "exec"]
    for node in NODES:
        with images.cilium(programs.CILIUM_EARLIER).open("rb") as archive:
            command = [*into, node, "--", "k3s", "ctr", "images", "import", "-"]
            subprocess.run(command, stdin=archive, stdout=subprocess.DEVNULL, check=True, timeout=120)
    configured(cilium=programs.CILIUM_EARLIER)
    up()
    assert agents() == {programs.CILIUM_EARLIER}


def upgrade_cilium(_: Stack) -> None:
    configured()
    up()
    assert agents() == {programs.CILIUM_VERSION}


def be_refused(lab: Stack) -> None:
    """A budget that allows nothing is respected: the node stays, and no other is touched."""
    on_node("k3s1", "sh", "-c", f"echo '{yaml.safe_dump(BUDGET)}' | k3s kubectl apply -f -")
    try:
        configured()
        assert stack.operate("up", "--yes", "--skip-preview") != 0
        assert {on_node(node, "k3s", "--version").split()[2] for node in NODES} == {programs.K3S_VERSION}
        until(60, "all as before", lambda: whole(lab))
    finally:
        on_node("k3s1", "k3s", "kubectl", "delete", "poddisruptionbudget", "all")


def rotate_the_agents_token(lab: Stack) -> None:
    read = ("sed", "-n", 's/^ "token": "\\(.*\\)",*$/\\1/p', "/etc/rancher/k3s/config.yaml")
    before = {node: on_node(node, *read) for node in NODES}
    set_value("k3s", "agentTokenGeneration", value=2)
    up()
    after = {node: on_node(node, *read) for node in NODES}
    assert {node for node in NODES if before[node] != after[node]} == {"k3s2", "k3s3"}
    secrets = lab.kubectl("-n", "kube-system", "get", "secrets")["items"]
    assert len([its for its in secrets if its["type"] == "bootstrap.kubernetes.io/token"]) == 2, "the former is good"


def renew_the_kubeconfig(_: Stack) -> None:
    """Its certificate ends in a month, and the stack has read it nearly a year ago."""
    on_node("k3s1", "sh", "-c", SHORT_LIVED)
    state = json.loads(stack.pulumi("stack", "export", "--stack", stack.STACK))
    (identity,) = (its for its in state["deployment"]["resources"] if its["urn"].endswith("::k3s-identity"))
    for part in ("inputs", "outputs"):
        identity[part]["renewed"] = str(int(time.time()) - 300 * DAY)
    stack.pulumi("stack", "import", "--stack", stack.STACK, stdin=json.dumps(state))
    up()
    (user,) = yaml.safe_load(Stack().outputs["kubeconfig"])["users"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["user"]["client-certificate-data"]))
    assert certificate.not_valid_after_utc.timestamp() > time.time() + 300 * DAY


@pytest.mark.parametrize(
    ("what", "nodes"),
    [
        (reload_frr, NODES),
        (restart_agents, NODES),
        (make_a_node_anew, NODES),
        (be_refused, NODES),
        (upgrade, NODES),
        (bring_an_earlier_cilium, NODES),
        (upgrade_cilium, NODES),
        (remove_a_node, LEFT),
        (add_a_node, NODES),
        (rotate_the_agents_token, NODES),
        (renew_the_kubeconfig, NODES),
    ],
)
def test_no_request_fails(
    lab: Stack, what: Callable[[Stack], None], nodes: Collection[str], capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with Load(lab.fcdemo) as load:
        what(lab)
        took = time.monotonic() - started
        until(120, "all as before", lambda: whole(Stack(), nodes))
    with capsys.disabled():
        said = f"{len(load.failed)} of {load.asked} failed {load.failed[:9]}, at most {load.late} s late to ask"
        print(f"{what.__name__} in {took:.0f} s: {said}", end=" ")
    assert load.failed == []


def test_the_bgp_password_is_rotated(lab: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """All sessions end, since either side knows one password only; then they come again."""
    place = ("--stack", stack.STACK, "--config-file", str(stack.CONFIG))
    with Load(lab.fcdemo) as load:
        stack.pulumi("config", "set", "--secret", "cilium-bgp:bgpPassword", *place, stdin="another-one")
        up()
        until(120, "all as before", lambda: whole(Stack()))
    failed = [at for at, _ in load.failed]
    with capsys.disabled():
        print(
            f"{len(failed)} of {load.asked} failed, within {max(failed) - min(failed) if failed else 0:.1f} s", end=" "
        )
    assert not failed or max(failed) - min(failed) < 20


def test_and_then_nothing_is_left_to_do(lab: Stack) -> None:
    unchanged()
