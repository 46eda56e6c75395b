"""Scripts that ask the cluster: joining, removing, waiting. `k3s` is a fake that answers for kubectl."""

import json

import pytest

from tests.scripts.machine import Machine

LISTED = "k3s1|True|10.26.23.11\nk3s2|True|10.26.23.12\nk3s3|Unknown|10.26.23.13"


@pytest.mark.parametrize(
    ("first", "then", "ready"),
    [
        ("k3s1 NotReady", "k3s1 NotReady\nk3s2 NotReady", "NotReady"),  # as without a network
        ("k3s1 Ready\nk3s22 Ready", "k3s1 NotReady\nk3s2 Ready,SchedulingDisabled", "Ready"),
        ("k3s1 Ready\nk3s2 NotReady", "k3s1 Ready\nk3s2 Ready", "Ready"),
    ],
)
def test_waits_until_a_node_has_joined_and_is_ready_where_others_are(
    machine: Machine, first: str, then: str, ready: str
) -> None:
    machine.fake(
        "k3s",
        f"""case $* in *aside}}) exit ;; *InternalIP*) echo '{LISTED}'; exit ;; esac
        [ -e "$STATE/asked" ] && echo '{then}' && exit; : >"$STATE/asked"; echo '{first}'""",
    )
    done = machine.run("node_joined.sh", "k3s2", "5")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"k3s2 {ready} 10.26.23.11\n", "")
    assert machine.ran.count("k3s kubectl get nodes --no-headers") == 2
    assert not [line for line in machine.ran if line.startswith("k3s kubectl uncordon")], (
        "somebody may have cordoned it"
    )


@pytest.mark.parametrize("answer", ["echo 'connection refused'; exit 1", "echo 'k3s1 NotReady'"])
def test_says_which_nodes_there_are_instead(machine: Machine, answer: str) -> None:
    machine.fake("k3s", f'[ "$5" = wide ] && echo "k3s1 NotReady wide" && exit; {answer}')
    done = machine.run("node_joined.sh", "k3s2", "1")
    assert done.returncode == 1
    seen = "connection refused" if "refused" in answer else "k3s1 NotReady\nk3s2 is not there"
    said = f"node k3s2 in the cluster, Ready if others are: not within 1 s; last seen: {seen}\n"
    assert done.stderr == f"{said}k3s1 NotReady wide\n"


def cluster(machine: Machine, nodes: str, drain: str = "", ready: str = "Unknown") -> None:
    """A cluster whose nodes are the words of `nodes`, the first its server, instances with the machine-id a1."""
    machine.write("state/nodes", "".join(f"node/{node}\n" for node in nodes.split()))
    machine.fake(
        "k3s",
        f"""case "$2 $3" in
        "get nodes") head -n 1 "$STATE/nodes" ;;
        "get node")
            found=$(grep -x "node/$4" "$STATE/nodes") || exit 0
            case $* in *machineID*) echo a1 ;; *Ready*) echo {ready} ;; *) echo "$found" ;; esac ;;
        drain*) {drain or ":"} ;;
        "delete node") grep -vx "node/$4" "$STATE/nodes" >"$STATE/left"; mv "$STATE/left" "$STATE/nodes" ;;
        esac""",
    )


def test_drains_a_node_then_removes_it_and_no_other(machine: Machine) -> None:
    cluster(machine, "k3s1 k3s2 k3s22", ready="True")
    assert machine.run("node_remove.sh", "k3s2").returncode == 0
    asked = [line.split()[2] for line in machine.ran if line.startswith("k3s ")]
    assert [verb for verb in asked if verb != "get"] == ["cordon", "drain", "delete"]
    assert machine.read("state/nodes") == "node/k3s1\nnode/k3s22\n"
    assert machine.run("node_remove.sh", "k3s2").returncode == 0
    assert [line.split()[2] for line in machine.ran if line.startswith("k3s ")] == ["get"]


def test_the_only_server_has_no_cluster_to_leave(machine: Machine) -> None:
    """k3s never ends to take the last member out of etcd, and keeps the node object until it has."""
    cluster(machine, "k3s1 k3s2", drain="exit 1", ready="True")
    done = machine.run("node_remove.sh", "k3s1")
    assert (done.returncode, machine.read("state/nodes")) == (0, "node/k3s1\nnode/k3s2\n")
    assert "k3s1 is the only server: the cluster goes with it" in done.stderr


def test_a_node_that_lives_and_cannot_be_drained_stays(machine: Machine) -> None:
    cluster(machine, "k3s1 k3s2", drain="exit 1", ready="True")
    done = machine.run("node_remove.sh", "k3s2")
    assert done.returncode == 1
    assert "k3s2 could not be drained within 120 s (k3s.drainTimeoutSeconds), and it lives: a Pod" in done.stderr
    assert machine.read("state/nodes") == "node/k3s1\nnode/k3s2\n"


def processes(machine: Machine) -> None:
    """What has just started, k3s that has run for 100 s, and one that has for 10."""
    for its, start in (("self", 10000), ("1", 0), ("2", 9000)):
        machine.write(f"/proc/{its}/stat", f"7 (k3s server) S {'0 ' * 18}{start} 0\n")
    machine.fake("systemctl", "echo 1")


def two(machine: Machine, *nodes: str, drain: str = ":") -> None:
    """Nodes as kubectl lists them: NAME|unschedulable|Ready|aside."""
    listed = "\n".join(nodes)
    machine.fake("k3s", f"""case $2 in get) echo '{listed}' ;; drain) {drain} ;; esac""")
    processes(machine)


@pytest.mark.parametrize(
    ("nodes", "does"),
    [
        (["k3s1||True|", "k3s2||True|"], ["annotate", "cordon", "drain"]),
        (["k3s1||True|", "k3s2|true|True|true"], ["cordon", "drain"]),  # again, after a run that was cut off
        (["k3s1||True|", "k3s2|true|True|"], ["cordon", "drain"]),  # cordoned by somebody, and stays so
        (["k3s1||True|", "k3s2||Unknown|"], []),
        (["k3s1||True|"], []),
        (["k3s1||Unknown|", "k3s2||True|"], []),  # its pods have nowhere to go
        (["k3s1|true|True|", "k3s2||True|"], []),
    ],
)
def test_a_node_that_will_be_changed_is_drained_if_there_is_another(
    machine: Machine, nodes: list[str], does: list[str]
) -> None:
    two(machine, *nodes)
    assert machine.run("node_drain.sh", "k3s2", "7").returncode == 0
    ran = [line.split()[2] for line in machine.ran if line.startswith("k3s ")]
    assert [verb for verb in ran if verb != "get"] == does


def test_pods_move_when_all_hear_of_it_and_are_ready_before_the_node_is_changed(machine: Machine) -> None:
    """A server that has just started is not heard by all yet; what has moved is Ready after a while."""
    machine.fake(
        "k3s",
        """echo "$2 $4" >>"$STATE/asked"
        case $* in
        *nodes*) printf 'k3s1||True|\\nk3s2||True|\\n' ;;
        *replicasets*) [ -e "$STATE/drained" ] || { printf '4\\n2\\n'; exit; }
            [ -e "$STATE/moved" ] && printf '4\\n\\n2\\n' && exit; : >"$STATE/moved"; printf '3\\n2\\n' ;;
        *drain*) [ -e "$STATE/old" ] && : >"$STATE/drained" ;;
        esac""",
    )
    processes(machine)
    machine.fake("systemctl", '[ -e "$STATE/old" ] && echo 1 && exit; : >"$STATE/old"; echo 2')
    done = machine.run("node_drain.sh", "k3s2", "7")
    assert done.returncode == 0, done.stderr
    assert machine.ran.count("systemctl show --property MainPID --value k3s") == 2
    asked = [line.split()[0] for line in machine.read("state/asked").splitlines()]
    assert asked == ["get", "get", "annotate", "get", "get", "cordon", "get", "drain", "get", "get"]


def pods(*places: str, uid: str = "4f1c") -> str:
    """As kubectl lists those of a ReplicaSet: NODE, or NODE/no where one is not Ready."""
    lines = []
    for number, place in enumerate(places):
        node, _, no = place.partition("/")
        lines.append(f"default|fcdemo3-{number}|{node}|{uid}|{'False' if no else 'True'}|")
    return "\\n".join(lines)


@pytest.mark.parametrize("script", ["node_drain.sh", "node_remove.sh"])
@pytest.mark.parametrize(
    ("before", "after", "evicted"),
    [
        (["k3s2"] * 4, ["k3s2", "k3s2", "k3s2", "k3s1"], 1),
        (["k3s2", "k3s2", "k3s1/no"], ["k3s2", "k3s2", "k3s1"], 0),  # after a run that was cut off
        (["k3s2", "k3s2", "k3s1"], [], 0),
        (["k3s2"], [], 0),
    ],
)
def test_pods_that_are_all_on_a_node_do_not_end_all_at_once(
    machine: Machine, script: str, before: list[str], after: list[str], evicted: int
) -> None:
    machine.fake(
        "k3s",
        f"""echo "$2 $4" >>"$STATE/asked"
        case $* in
        *" nodes -l "*) echo node/k3s1 ;;
        *" nodes "*) printf 'k3s1||True|\\nk3s2||True|\\n' ;;
        *" node k3s2 "*" name") echo node/k3s2 ;;
        *" pods "*) [ -e "$STATE/moved" ] && printf '{pods(*after)}' && exit; printf '{pods(*before)}'
            case '{before}' in */no*) : >"$STATE/moved" ;; esac ;;
        *eviction*) cat >"$STATE/evicted"; : >"$STATE/moved" ;;
        *drain*) [ '{len(after)}' = 0 ] || [ -e "$STATE/moved" ] ;;
        esac""",
    )
    processes(machine)
    done = machine.run(script, "k3s2", "7")
    assert done.returncode == 0, done.stderr
    asked = [line.split()[0] for line in machine.read("state/asked").splitlines()]
    assert asked.count("create") == evicted
    if evicted:
        body = json.loads(machine.read("state/evicted"))
        assert (body["kind"], body["metadata"]["namespace"]) == ("Eviction", "default")
        assert body["metadata"]["name"].startswith("fcdemo3-")
        assert asked.index("create") < asked.index("drain")


@pytest.mark.parametrize("script", ["node_drain.sh", "node_remove.sh"])
def test_pods_end_when_there_are_controllers_to_replace_them(machine: Machine, script: str) -> None:
    """Whose leader has gone with a server, after which another one takes over, and begins to work."""
    leader = ["10:00:00 11:00:00"] * 4 + ["11:00:15 11:00:17", "11:00:15 11:00:19", "11:00:15 11:00:46"]
    for number, times in enumerate(leader, 1):
        acquired, renewed = (f"2026-11-28T{time}.123456Z" for time in times.split())
        machine.write(f"state/leases/{number}", f"{acquired} {renewed}")
    machine.fake(
        "k3s",
        """case $* in
        *" lease "*) echo . >>"$STATE/looks"; number=$(wc -l <"$STATE/looks")
            cat "$STATE/leases/$number" 2>/dev/null || echo "2026-11-28T11:00:15Z 2026-11-28T11:01:$((number + 10))Z" ;;
        *" nodes -l "*) echo node/k3s1 ;;
        *" nodes "*) printf 'k3s1||True|\\nk3s2||True|\\n' ;;
        *" node k3s2 "*" name") echo node/k3s2 ;;
        *drain*) cp "$STATE/looks" "$STATE/drained" ;;
        esac""",
    )
    processes(machine)
    machine.hurry(5)
    done = machine.run(script, "k3s2", "7")
    assert done.returncode == 0, done.stderr
    assert machine.read("state/drained").count(".") == 8, "the first look at one that works"


def test_a_budget_that_refuses_is_left_to_the_drain(machine: Machine) -> None:
    machine.fake(
        "k3s",
        f"""case $* in
        *" nodes "*) printf 'k3s1||True|\\nk3s2||True|\\n' ;;
        *" pods "*) printf '{pods("k3s2", "k3s2")}' ;;
        *eviction*) echo 'violate the disruption budget' >&2; exit 1 ;;
        esac""",
    )
    processes(machine)
    assert machine.run("node_drain.sh", "k3s2", "7").returncode == 0
    assert len([line for line in machine.ran if line.startswith("k3s kubectl create")]) == 1


@pytest.mark.parametrize(
    ("node", "undone"), [("k3s2||True|", True), ("k3s2|true|True|true", True), ("k3s2|true|True|", False)]
)
def test_one_that_cannot_be_drained_is_left_as_it_was(machine: Machine, node: str, undone: bool) -> None:
    two(machine, "k3s1||True|", node, drain="echo 'violate the disruption budget' >&2; exit 1")
    done = machine.run("node_drain.sh", "k3s2", "7")
    assert done.returncode == 1
    assert (
        "k3s2 could not be drained within 7 s (k3s.drainTimeoutSeconds); a PodDisruptionBudget may refuse."
        in done.stderr
    )
    assert ("k3s kubectl uncordon k3s2" in machine.ran) == undone, "one that somebody has cordoned stays so"
    assert ("k3s kubectl annotate node k3s2 cilium-bgp/aside-" in machine.ran) == undone


def test_one_that_cannot_be_drained_as_the_api_goes_takes_pods_again_when_that_is_back(machine: Machine) -> None:
    fake = machine.root / "state/tried"
    machine.fake(
        "k3s",
        f"""case $2 in
        get) printf 'k3s1||True|\nk3s2||True|\n' ;;
        drain) exit 1 ;;
        uncordon) [ -e {fake} ] || {{ : >{fake}; echo 'connection refused' >&2; exit 1; }} ;;
        esac""",
    )
    processes(machine)
    assert machine.run("node_drain.sh", "k3s2", "7").returncode == 1
    assert machine.ran.count("k3s kubectl uncordon k3s2") == 2
    assert "k3s kubectl annotate node k3s2 cilium-bgp/aside-" in machine.ran


def router(machine: Machine, *hops: str) -> None:
    """Of the host: takes a node's routes from the kernel as long as its route-map refuses them."""
    machine.write("state/out")
    lines = "\n".join(f"nexthop via {hop} dev lxdbr0 weight 1" for hop in hops)
    machine.fake("ip", f"""echo '{lines}' | grep -vF "via $(cat "$STATE/out") " """)
    machine.fake(
        "vtysh",
        """case $* in
        *"show running-config") [ ! -s "$STATE/out" ] || echo "route-map NODE-$(cat "$STATE/out") deny 5" ;;
        *" -c route-map NODE-"*) out=${4#route-map NODE-}; echo "${out% deny 5}" >"$STATE/out" ;;
        *" -c no route-map NODE-"*) : >"$STATE/out" ;;
        *"show bgp neighbors"*) cat "$STATE/neighbors" ;;
        esac""",
    )
    sessions(machine, *hops)


def sessions(machine: Machine, *up: str, down: str = "10.26.23.19") -> None:
    """What the router says of its neighbors."""
    states = dict.fromkeys(up, "Established, up for 00:00:09") | {down: "Active"}
    lines = "".join(f"BGP neighbor is {peer}, remote AS 64512\n  BGP state = {its}\n" for peer, its in states.items())
    machine.write("state/neighbors", lines)


def test_a_node_leaves_the_routes_before_its_pods_and_returns_after_them(machine: Machine) -> None:
    router(machine, "10.26.23.11", "10.26.23.12")
    machine.fake("pods", 'cat "$STATE/out"')
    done = machine.run("node_aside.sh", "leave", "10.26.23.12", "pods")
    assert (done.returncode, done.stdout) == (0, "10.26.23.12\n"), done.stderr
    done = machine.run("node_aside.sh", "return", "10.26.23.12", "pods")
    assert (done.returncode, done.stdout) == (0, "10.26.23.12\n"), done.stderr
    assert machine.read("state/out") == ""


def test_one_whose_pods_stay_is_let_in_again(machine: Machine) -> None:
    router(machine, "10.26.23.11", "10.26.23.12")
    machine.fake("pods", "exit 1")
    assert machine.run("node_aside.sh", "leave", "10.26.23.12", "pods").returncode == 1
    assert machine.read("state/out") == ""


@pytest.mark.parametrize(
    ("ready", "up", "waits"),
    [
        ("Ready 10.26.23.13 10.26.23.11", ["10.26.23.11"], True),
        ("Ready 10.26.23.11", ["10.26.23.11", "10.26.23.12"], False),
        ("Ready 10.26.23.11", [], False),  # all wait for what comes later in the run, another password perhaps
        ("NotReady 10.26.23.11", ["10.26.23.11"], False),
        ("Ready 10.26.23.13", ["10.26.23.11"], False),  # that one is of another cluster, which this one was too
        ("Ready", ["10.26.23.11"], False),
    ],
)
def test_a_node_is_back_with_its_session_if_it_can_have_one(
    machine: Machine, ready: str, up: list[str], waits: bool
) -> None:
    router(machine, "10.26.23.11", "10.26.23.12")
    sessions(machine, *up, down="10.26.23.19" if "10.26.23.12" in up else "10.26.23.12")
    machine.write("state/out", "10.26.23.12")
    machine.fake("pods", f"echo k3s2 {ready}")
    machine.hurry()
    done = machine.run("node_aside.sh", "return", "10.26.23.12", "pods")
    assert done.stdout == f"k3s2 {ready}\n"
    assert machine.read("state/out") == "", "let in, also when its session is awaited"
    if waits:
        assert done.returncode == 1
        assert "the session with 10.26.23.12, as other nodes have one: not within 120 s; last seen: " in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hops", [["10.26.23.12"], [], ["10.26.23.11"]])
def test_the_only_way_stays_open(machine: Machine, hops: list[str]) -> None:
    router(machine, *hops)
    machine.fake("pods")
    for way in ("leave", "return"):
        done = machine.run("node_aside.sh", way, "10.26.23.12", "pods")
        assert done.returncode == 0, done.stderr
    assert not [line for line in machine.ran if line.startswith("vtysh -c configure")]


@pytest.mark.parametrize(("machine_id", "left"), [("a1", "node/k3s1\nnode/k3s2\n"), ("b2", "node/k3s1\n")])
def test_a_former_instance_is_forgotten_and_the_present_one_is_not(
    machine: Machine, machine_id: str, left: str
) -> None:
    cluster(machine, "k3s1 k3s2")
    done = machine.run("node_forget.sh", "k3s2", machine_id)
    assert done.returncode == 0
    assert ("its former instance (machine-id a1)" in done.stderr) == (machine_id == "b2")
    assert machine.read("state/nodes") == left
    assert machine.run("node_forget.sh", "k3s3", machine_id).returncode == 0, "one that was never there"


def test_a_dead_node_is_removed_all_the_same(machine: Machine) -> None:
    cluster(machine, "k3s1 k3s2", drain="exec sleep 99")
    done = machine.run("node_remove.sh", "k3s2", seconds=20)
    assert done.returncode == 0
    assert "k3s2 could not be drained" in done.stderr
    assert machine.read("state/nodes") == "node/k3s1\n"


def test_an_api_that_does_not_answer_is_no_node_that_is_gone(machine: Machine) -> None:
    machine.fake("k3s", "echo 'connection refused'; exit 1")
    machine.hurry()
    done = machine.run("node_remove.sh", "k3s2")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "the Kubernetes API, to remove node k3s2: not within 60 s; last seen: connection refused\n"
    )


SERVED = '{"resources":[{"name":"as"},{"name":"as/status"},{"name":"bs/status"}]}'
GATE = ("crds_established.sh", "1", "cilium.io/v2")


def test_waits_for_kinds_to_be_served_in_a_version(machine: Machine) -> None:
    machine.fake("k3s", f"[ \"$4\" = /apis/cilium.io/v2 ] && echo '{SERVED.replace('bs/status', 'bs')}'")
    done = machine.run(*GATE, "as", "bs")
    assert (done.returncode, done.stdout) == (0, "cilium.io/v2: as bs\n")


@pytest.mark.parametrize(
    ("answer", "seen"),
    [(f"echo '{SERVED}'", "cilium.io/v2 has no bs"), ("echo refused; exit 1", "cilium.io/v2 has no as")],
)
def test_says_which_kind_is_not_served_and_what_the_operator_says(machine: Machine, answer: str, seen: str) -> None:
    machine.fake("k3s", f'[ "$3" != --raw ] || {{ {answer}; exit; }}; echo "k3s: $*"')
    done = machine.run(*GATE, "as", "bs")
    assert done.returncode == 1
    kind = seen.rsplit(maxsplit=1)[-1]
    said = f"kind {kind} in cilium.io/v2, which cilium-operator registers: not within 1 s; last seen: {seen}\n"
    assert said in done.stderr
    assert "k3s: kubectl -n kube-system logs deployment/cilium-operator" in done.stderr


@pytest.mark.parametrize(
    ("before", "selector"),
    [
        ("create", "owner=helm,name=cilium"),
        ("update", "owner=helm,name=cilium,status in (pending-install,pending-upgrade,pending-rollback)"),
    ],
)
def test_forgets_of_helm_what_it_would_refuse(machine: Machine, before: str, selector: str) -> None:
    machine.fake("k3s")
    assert machine.run("helm_forget.sh", "kube-system", "cilium", before).returncode == 0
    options = "--ignore-not-found --timeout=30s"
    asked = [line for line in machine.ran if line.startswith("k3s ")]
    assert asked == [f"k3s kubectl -n kube-system delete secrets {options} -l {selector}"]


OBJECT = ("object_is_ours.sh", "Deployment.v1.apps", "default", "fcdemo3")


@pytest.mark.parametrize(
    "labels", ["", '{"metadata": {"labels": {"app": "x", "app.kubernetes.io/managed-by": "cilium-bgp"}}}']
)
def test_an_object_that_is_not_there_or_ours_is_made(machine: Machine, labels: str) -> None:
    machine.fake("k3s", f"echo '{labels}'")
    done = machine.run(*OBJECT)
    assert (done.returncode, done.stderr) == (0, "")
    line = "k3s kubectl --request-timeout=30s -n default get Deployment.v1.apps fcdemo3 --ignore-not-found -o json"
    assert line in machine.ran


@pytest.mark.parametrize("labels", ["{}", '{"app.kubernetes.io/managed-by": "Helm"}'])
def test_somebody_elses_object_is_refused_with_how_to_make_it_ours(machine: Machine, labels: str) -> None:
    machine.fake("k3s", f'echo \'{{"metadata": {{"labels": {labels}}}}}\'')
    done = machine.run(*OBJECT)
    assert done.returncode == 1
    assert "Deployment.v1.apps fcdemo3 in namespace default is there already and is not the stack's" in done.stderr
    advice = "label Deployment.v1.apps fcdemo3 app.kubernetes.io/managed-by=cilium-bgp"
    assert done.stderr.rstrip().endswith(advice)


READY = ("cilium_ready.sh", "2", "abc", "k3s1 k3s2", "daemonset/cilium", "deployment/cilium-operator")


def test_cilium_is_ready_when_it_is_rolled_out_and_every_node_is(machine: Machine) -> None:
    machine.fake("k3s")
    done = machine.run(*READY)
    assert (done.returncode, done.stdout) == (
        0,
        "revision abc on k3s1 k3s2: daemonset/cilium deployment/cilium-operator\n",
    )
    assert [line.split()[-1] for line in machine.ran if line.startswith("k3s kubectl wait ")] == [
        "node/k3s1",
        "node/k3s2",
    ]


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ("*'get daemonset/cilium -o'*", "daemonset/cilium"),
        ("*'rollout status deployment/cilium-operator'*", "rollout of deployment/cilium-operator"),
        ("*node/k3s2", "node k3s2 Ready"),
    ],
)
def test_says_what_of_cilium_is_missing_and_what_it_logged(machine: Machine, asked: str, missing: str) -> None:
    machine.fake("k3s", f'case "$*" in {asked}) exit 1 ;; *logs*) echo "level=fatal" ;; esac')
    done = machine.run(*READY)
    assert done.returncode == 1
    assert "level=fatal\n" in done.stderr
    assert done.stderr.endswith(f"{missing}: not within 2 s; pods, events and last log lines are above\n")


ANSWER = r"printf 'HTTP/1.1 200 OK\r\nserver: envoy\r\n\r\n{}\n'"


def echo(machine: Machine, configs: str, answer: str) -> None:
    machine.fake("k3s", f'case "$*" in *ciliumenvoyconfigs*) {configs} ;; *exec*) {answer} ;; *) echo "$*" ;; esac')


def test_the_echo_service_answers_through_envoy(machine: Machine) -> None:
    echo(machine, "echo ciliumenvoyconfig/cilium-envoy-lb-default-echo", ANSWER)
    done = machine.run("l7_check.sh", "5", "l7echo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "HTTP/1.1 200 OK\n", "")
    assert [line.split()[2:5] for line in machine.ran if line.startswith("k3s kubectl -n")] == [
        ["-n", "l7echo", "exec"]
    ]


@pytest.mark.parametrize(
    ("configs", "answer", "message"),
    [
        ("echo other", ANSWER, "a CiliumEnvoyConfig cilium-envoy-lb-… for l7echo/echo-service: not within 1 s"),
        ("echo cilium-envoy-lb", "echo 'curl: (28) timed out'; exit 28", "last seen: curl: (28) timed out\n"),
        ("echo cilium-envoy-lb", ANSWER.replace("envoy", "nginx"), "answered, but not through Envoy: HTTP/1.1 200 OK"),
    ],
)
def test_says_why_it_is_no_layer_7(machine: Machine, configs: str, answer: str, message: str) -> None:
    echo(machine, configs, answer)
    done = machine.run("l7_check.sh", "1", "l7echo")
    assert done.returncode == 1
    assert message in done.stderr
