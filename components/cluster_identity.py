"""What a stack remembers of its cluster, and what of it a running cluster cannot change.

The import path of the providers is part of the state: it stays.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)
from pulumi.output import Unknown

DAY = 86400
KUBECONFIG_DAYS = 280
"""Its certificate lives 365 days, and k3s makes it anew at a start within 90 days of its end."""


class _Remembering(ResourceProvider):
    """Does nothing but remember its inputs, which `check` has completed: so a preview knows them all."""

    serialize_as_secret_always = False

    def create(self, props: Mapping[str, Any]) -> CreateResult:
        return CreateResult(str(props["name"]), dict(props))

    def diff(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> DiffResult:
        changed = any(_olds.get(key) != value for key, value in _news.items() if key != "__provider")
        return DiffResult(changes=changed)

    def update(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> UpdateResult:
        return UpdateResult(dict(_news))


class ClusterTokensProvider(_Remembering):
    """Makes the tokens once, and that of the agents once more with another generation."""

    def check(self, _olds: Mapping[str, Any], news: Mapping[str, Any]) -> CheckResult:
        if "token" in _olds:
            made = {key: _olds[key] for key in ("token", "agent_token", "passwords")}
            if _olds.get("agent_generation", "1") != news.get("agent_generation", "1"):
                made["agent_token"] = secrets.token_hex(32)
        else:
            found = news["existing"] if isinstance(news["existing"], str) else ""
            made = {
                "token": found.rpartition(":")[2] or secrets.token_hex(32),
                "agent_token": secrets.token_hex(32),
                "passwords": found or secrets.token_hex(32),
            }
        return CheckResult({**news, **made, "existing": ""}, [])


class ClusterTokens(Resource, module="cilium-bgp", name="ClusterTokens"):
    """Made once and remembered, also for a cluster that is made anew: a snapshot opens with its token only."""

    token: pulumi.Output[str]
    """What servers join with, and what k3s encrypts the cluster's authority with; a secret."""
    agent_token: pulumi.Output[str]
    """What agents join with; makes no server. A secret."""
    passwords: pulumi.Output[str]
    """What the nodes' passwords are derived from; a secret."""

    def __init__(
        self,
        name: str,
        *,
        existing: pulumi.Input[str],
        agent_generation: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`existing`: join token of a cluster that is there already; else empty. `agent_generation`: another number
        makes another `agent_token`."""
        hidden = {"token": "", "agent_token": "", "passwords": "", "existing": existing}
        merged = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(additional_secret_outputs=list(hidden)), opts)
        props = {key: pulumi.Output.secret(value) for key, value in hidden.items()}
        # States of earlier versions have no number.
        count = {} if agent_generation == 1 else {"agent_generation": str(agent_generation)}
        super().__init__(ClusterTokensProvider(), name, {"name": name, **props, **count}, merged)


class ClusterIdentityProvider(_Remembering):
    """Tells whether it is the same cluster: where no instance is left that was a server before, it is another one."""

    def check(self, _olds: Mapping[str, Any], news: Mapping[str, Any]) -> CheckResult:
        inputs = dict(news)
        # A preview does not know an instance that is to be made.
        if set(_olds.get("servers") or []).isdisjoint(its for its in news["servers"] if not isinstance(its, Unknown)):
            inputs |= {"starter": news["servers"][0], "renewed": str(int(time.time()))}
        else:
            inputs |= {"starter": _olds["starter"], "renewed": _olds["renewed"]}
            if int(_olds["renewed"]) + KUBECONFIG_DAYS * DAY < time.time():
                inputs["renewed"] = str(int(time.time()))
        return CheckResult(inputs, [])

    def diff(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> DiffResult:
        another = _olds["starter"] != _news["starter"]
        return DiffResult(changes=another or super().diff(_id, _olds, _news).changes, replaces=["starter"] * another)


class ClusterIdentity(Resource, module="cilium-bgp", name="ClusterIdentity"):
    """What the cluster is known by: the instance that was its first server when it was made, which is remembered.

    Servers are alike once the cluster exists. An instance that is lost, that one included, is made anew and joins; only
    when none is left that was there before, it is another cluster.
    """

    starter: pulumi.Output[str]
    """Identity of that instance."""
    renewed: pulumi.Output[str]
    """Changes when the kubeconfig's certificate nears its end."""

    def __init__(
        self, name: str, servers: Sequence[pulumi.Input[str]], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`servers`: identity of each server's instance."""
        props = {"name": name, "servers": list(servers), "starter": None, "renewed": None}
        super().__init__(ClusterIdentityProvider(), name, props, opts)


ONE_WAY = ("k3s.version",)
"""Versions from which there is no way back; of the others one minor release back is as good as one on."""


def refusals(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What of the new values a cluster with the old ones cannot bear: (key, what it means and the way to go)."""
    for key, new in news.items():
        old = olds.get(key)
        if not isinstance(old, str) or not isinstance(new, str) or old == new:
            continue
        if key.endswith("version"):
            was, will = numbers(old), numbers(new)
            prefix = "v" if old.startswith("v") else ""
            up = 1 if will > was else -1
            if will < was and key in ONE_WAY:
                yield key, f"{old} runs, and {new} is older; there is no way back to it. Write {old} or later."
            elif was[:2] != will[:2] and (was[0], was[1] + up) != will[:2]:
                step = f"{prefix}{was[0]}.{was[1] + up}"
                yield (
                    key,
                    f"{old} runs, and {new} skips a minor release; upgrades are made and tested one at a time. "
                    f"Write a {step}, run `pulumi up`, and go on from there.",
                )
        else:
            yield (
                key,
                f"the cluster has {old}, and a running cluster cannot change to {new}: addresses given out stay. "
                f"Write {old}, or make another stack and move what runs here.",
            )


def numbers(version: str) -> tuple[int, ...]:
    """(1, 25, 6, 1) of v1.25.6+k3s1, (1, 16, 19) of 1.16.19."""
    return tuple(int(part) for part in version.removeprefix("v").replace("+k3s", ".").split("-")[0].split("."))


class RunningProvider(_Remembering):
    """Refuses at preview what `refusals` says, unless it is for another cluster."""

    def check(self, _olds: Mapping[str, Any], news: Mapping[str, Any]) -> CheckResult:
        old = (_olds.get("values") or {}) if _olds.get("cluster") == news["cluster"] else {}
        return CheckResult(
            dict(news), [CheckFailure(key, f"{key}: {why}") for key, why in refusals(old, news["values"])]
        )


class Running(Resource, module="cilium-bgp", name="Running"):
    """What runs, by configuration key: a change that it cannot bear is refused, in the preview already."""

    def __init__(
        self,
        name: str,
        values: Mapping[str, str],
        cluster: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`values` are recorded once all that the resource depends on is there. Keys that end in `version` are checked
        as versions, others cannot change at all. `cluster`: what it is known by."""
        super().__init__(RunningProvider(), name, {"name": name, "values": dict(values), "cluster": cluster}, opts)
