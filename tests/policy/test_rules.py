"""The rules of `policy/`, served as the engine starts them, over the graph of the real program: what each refuses."""

import copy
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, json_format
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from tests.unit.graph import DEV, Graph, Secret, decoded, encoded, stack, values

ROOT = Path(__file__).parents[2]
CURRENT: dict[str, Any] = {
    "k3s": {"version": "v1.36.2+k3s1"},
    "cilium": {"version": "1.20.2"},
    "bgp": {"mode": "control-plane"},
    "fcdemo": {"image": "mcas/franceconnect-demo2:1.0"},
    "protect": True,
}
"""Changes of `dev` that leave no rule anything to say."""


@dataclass(frozen=True)
class Said:
    rule: str
    about: str
    """The resource's name; empty for the stack."""
    message: str
    refuses: bool


class Pack:
    def __init__(self, port: str) -> None:
        self._pack: Any = analyzer_pb2_grpc.AnalyzerStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    def of(self, graph: Graph, only: str = "", **config: Mapping[str, Any]) -> list[Said]:
        """What it says of every resource, or of `only` one, and of the stack."""
        self._configure({"cost-ceiling": {"dollarsPerMonth": 100}} | config)
        resources = [its for its in graph if its.custom]
        requests = [
            analyzer_pb2.AnalyzeRequest(
                type=its.type,
                name=its.name,
                urn=its.urn,
                properties=struct(its.inputs),
                options=analyzer_pb2.AnalyzerResourceOptions(protect=its.protect),
            )
            for its in resources
        ]
        said = [
            Said(found.policyName, request.name, found.message, found.enforcementLevel == analyzer_pb2.MANDATORY)
            for request in requests
            if only in ("", request.name)
            for found in self._pack.Analyze(request).diagnostics
        ]
        parts = [
            analyzer_pb2.AnalyzerResource(
                type=its.type, name=its.name, urn=its.urn, properties=its.properties, options=its.options
            )
            for its in requests
        ]
        whole = self._pack.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=parts)).diagnostics
        return said + [
            Said(
                its.policyName, its.urn.rpartition("::")[2], its.message, its.enforcementLevel == analyzer_pb2.MANDATORY
            )
            for its in whole
        ]

    def mended(self, graph: Graph) -> dict[str, Any]:
        """The inputs that it changed, by name."""
        answers = {
            its.name: self._pack.Remediate(
                analyzer_pb2.AnalyzeRequest(type=its.type, name=its.name, urn=its.urn, properties=struct(its.inputs))
            ).remediations
            for its in graph
            if its.custom
        }
        return {
            name: decoded(json_format.MessageToDict(answer[0].properties)) for name, answer in answers.items() if answer
        }

    def _configure(self, config: Mapping[str, Mapping[str, Any]]) -> None:
        request = analyzer_pb2.ConfigureAnalyzerRequest()
        for rule in self._pack.GetAnalyzerInfo(empty_pb2.Empty()).policies:
            its = request.policyConfig[rule.name]
            its.enforcementLevel = rule.enforcementLevel
            its.properties.CopyFrom(struct(config.get(rule.name, {})))
        self._pack.Configure(request)


def struct(its: Mapping[str, Any]) -> Struct:
    made = Struct()
    json_format.ParseDict(encoded(dict(its)), made)
    return made


@pytest.fixture(scope="module")
def pack() -> Iterator[Pack]:
    path = os.pathsep.join([str(ROOT / "policy"), os.environ["PATH"]])
    with subprocess.Popen(
        ["pulumi-analyzer-policy-venv", "127.0.0.1:0", "."],
        cwd=ROOT / "policy",
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        yield Pack(server.stdout.readline().strip())
        server.kill()


def changed(graph: Graph, name: str, change: Callable[[dict[str, Any]], Any]) -> Graph:
    """The graph with other inputs of one of its resources."""
    its = graph[name]
    inputs = copy.deepcopy(its.inputs)
    change(inputs)
    return replace(graph, resources=graph.resources | {its.urn: replace(its, inputs=inputs)})


def current(**roots: Any) -> Graph:
    return stack(values(**{**CURRENT, **roots}))


def test_a_stack_of_today_breaks_none(pack: Pack) -> None:
    assert pack.of(current()) == []


def test_the_article_is_warned_of_and_not_refused(pack: Pack) -> None:
    said = pack.of(stack(DEV))
    assert [its for its in said if its.refuses] == []
    assert {(its.rule, its.about) for its in said} == {
        ("versions-supported", "cilium-release"),
        ("versions-supported", "k3s-running"),
        ("versions-supported", "fcdemo-deployment"),
        ("data-protected", ""),
    }


def test_a_first_preview_that_knows_little_says_nothing_wrong(pack: Pack) -> None:
    graph = stack(values(**CURRENT), preview=True)
    assert pack.of(graph) == []
    assert pack.mended(graph) == {}


WORLD = {**DEV["host"], "adminCidrs": ["0.0.0.0/0", "203.0.113.0/28"], "allowWorld": True}


def test_what_is_open_to_the_world_is_refused_unless_somebody_says_so(pack: Pack) -> None:
    graph = current(host=WORLD)
    said = pack.of(graph, only="host-firewall")
    assert [(its.rule, its.about, its.refuses) for its in said] == [
        ("nothing-open-to-the-world", "host-firewall", True)
    ] * 2
    assert "host-firewall opens ssh (port 22) to 0.0.0.0/0. Name the networks that may come;" in said[0].message
    assert pack.of(graph, only="host-firewall", **{"nothing-open-to-the-world": {"ports": [22, 6443]}}) == []


def drop(*path: str) -> Callable[[dict[str, Any]], Any]:
    def change(inputs: dict[str, Any]) -> None:
        its: Any = inputs
        for step in path[:-1]:
            its = its[step].value if isinstance(its[step], Secret) else its[step]
        del its[path[-1]]

    return change


def put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda inputs: inputs.update({key: value})


@pytest.mark.parametrize(
    ("name", "change", "rule", "message"),
    [
        pytest.param(
            "host-firewall", put("inboundPolicy", "ACCEPT"), "nothing-open-to-the-world", "lets in all", id="no-drop"
        ),
        pytest.param(
            "router-frr", drop("connection", "hostKey"), "host-keys-pinned", "by SSH whatever host key", id="command"
        ),
        pytest.param("k3s1-mounts", drop("connection", "proxy", "hostKey"), "host-keys-pinned", "by SSH", id="proxy"),
        pytest.param("k3s1", drop("lxd", "hostKey"), "host-keys-pinned", "k3s1 goes to 198.51.100.7 by SSH", id="lxd"),
        pytest.param(
            "cilium-release", drop("version"), "versions-pinned", "takes chart cilium of the day", id="no-version"
        ),
        pytest.param("cilium-release", put("version", "1.20"), "versions-pinned", "chart cilium 1.20;", id="range"),
        pytest.param(
            "k3s-running", put("values", {"k3s.version": "stable"}), "versions-pinned", "k3s stable;", id="k3s"
        ),
        pytest.param("host-instance", put("type", "g6-standard-16"), "cost-ceiling", "384 dollars a month", id="dear"),
        pytest.param(
            "host-instance", put("type", "g9-new-1"), "cost-ceiling", "g9-new-1, whose price is not known", id="new"
        ),
        pytest.param(
            "router-frr",
            put("stdin", "ip prefix-list NODE-10.26.23.11 seq 10 permit 10.26.23.64/27 ge 32 le 32\n"),
            "pool-accepted",
            "gives addresses of 10.26.23.32/27 to Services; the router drops them, as it accepts only 10.26.23.64/27.",
            id="pool",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused_with_what_it_would_mean(
    pack: Pack, name: str, change: Callable[[dict[str, Any]], Any], rule: str, message: str
) -> None:
    said = pack.of(changed(current(), name, change), only=name)
    assert {(its.rule, its.refuses) for its in said} == {(rule, True)}
    assert message in said[0].message


def test_the_pool_of_a_configmap_is_looked_at_too(pack: Pack) -> None:
    graph = changed(
        stack(DEV), "router-frr", put("stdin", "ip prefix-list NODE-1 seq 10 permit 10.9.0.0/24 ge 32 le 32\n")
    )
    (said,) = (its for its in pack.of(graph, only="router-frr") if its.refuses)
    assert (said.rule, said.about) == ("pool-accepted", "cilium-bgp-config")


def test_a_vm_above_a_ceiling_of_ones_own_is_told_with_its_price(pack: Pack) -> None:
    (said,) = pack.of(current(), only="host-instance", **{"cost-ceiling": {"dollarsPerMonth": 50}})
    assert "host-instance (g7-highmem-1) would cost 60 dollars a month" in said.message


def test_what_is_named_a_secret_becomes_one(pack: Pack) -> None:
    """As a user's own chart values are; the program's secrets are some already."""
    assert pack.mended(current()) == {}
    graph = current(cilium=CURRENT["cilium"] | {"values": {"clustermesh": {"apiserver": {"password": "plain"}}}})
    (name, inputs), *others = pack.mended(graph).items()
    assert (name, others) == ("cilium-release", [])
    assert inputs["values"]["clustermesh"]["apiserver"]["password"] == Secret("plain")
    assert inputs["version"] == "1.20.2"
