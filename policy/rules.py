"""The rules. Mandatory is what no stack of ours has a reason to break; advisory what the article's own stack breaks.

A value that a preview does not know yet is looked at again by `up`, before the resource is made. What may differ from
stack to stack is in a file that `--policy-pack-config` names: `policy/config.json`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, ip_network
from typing import Any

import yaml
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Secret,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policy.kinds import COMMAND, FIREWALL, LINODE, LXD_INSTANCE, RELEASE, RUNNING
from policy.prices import AS_OF, MONTHLY
from settings import versions

HOLDS_DATA = {LINODE: "the VM", LXD_INSTANCE: "node"}


def known(value: Any, *path: str | int) -> Any:
    """What is there; None where nothing is, and where it is not known yet."""
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError, UnknownValueError):
        return None
    return value


def maps(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every map in it, itself first."""
    if isinstance(value, Mapping):
        yield value
        for key in value:
            yield from maps(known(value, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index in range(len(value)):
            yield from maps(known(value, index))


def each(value: Any, *path: str | int) -> list[Any]:
    """The items of the list that is there, as far as they are known."""
    found = known(value, *path)
    return [item for index in range(len(found or ())) if (item := known(found, index)) is not None]


def nothing_open(args: ResourceValidationArgs, report: ReportViolation) -> None:
    if args.resource_type != FIREWALL:
        return
    if known(args.props, "inboundPolicy") == "ACCEPT":
        report(f"{args.name} lets in all that no rule is about. Set inboundPolicy to DROP.", None)
    said = [str(int(port)) for port in args.get_config().get("ports", ())]
    for rule in each(args.props, "inbounds"):
        ports = known(rule, "ports")
        wide = [cidr for cidr in (*each(rule, "ipv4s"), *each(rule, "ipv6s")) if ip_network(cidr, False).prefixlen < 8]
        if wide and known(rule, "action") == "ACCEPT" and ports not in said:
            report(
                f"{args.name} opens {known(rule, 'label')} (port {ports or 'any'}) to {', '.join(wide)}. "
                "Name the networks that may come; where everybody may, add the port to ports in policy/config.json.",
                None,
            )


def host_keys_pinned(args: ResourceValidationArgs, report: ReportViolation) -> None:
    for part in maps(args.props):
        keys = set(part)  # `in` would ask for the value, which a preview may not know
        if (
            "host" in keys
            and keys & {"privateKey", "password"}
            and ("hostKey" not in keys or known(part, "hostKey") == "")
        ):
            report(
                f"{args.name} goes to {known(part, 'host') or 'a machine'} by SSH whatever host key that shows. "
                "Set hostKey, from ssh-keyscan or from the machine's console.",
                None,
            )


def versions_pinned(args: ResourceValidationArgs, report: ReportViolation) -> None:
    for what, version, pattern, like in its_versions(args):
        if not re.fullmatch(pattern, version):
            report(
                f"{args.name} takes {what} {version or 'of the day'}; another `up` could install another one. "
                f"Write a whole version, like {like}.",
                None,
            )


def its_versions(args: ResourceValidationArgs) -> Iterator[tuple[str, str, str, str]]:
    """What it installs, in which version, and how a whole one is written."""
    chart = known(args.props, "chart") or ""
    version = known(args.props, "version") if "version" in set(args.props) else ""
    if args.resource_type == RELEASE and version is not None and not chart.startswith((".", "/")):
        yield f"chart {chart}", version, r"v?\d+\.\d+\.\d+[\w.+-]*", "1.20.2"
    if args.resource_type == RUNNING and (version := known(args.props, "values", "k3s.version")):
        yield "k3s", version, r"v\d+\.\d+\.\d+(-rc\d+)?\+k3s\d+", "v1.36.2+k3s1"


def versions_supported(args: ResourceValidationArgs, report: ReportViolation) -> None:
    for what, version, pattern, _ in its_versions(args):
        oldest = versions.FIXED_KUBERNETES if what == "k3s" else versions.FIXED_CILIUM
        ours = what in ("k3s", "chart cilium")
        if ours and re.fullmatch(pattern, version) and versions.minor(version) < oldest:
            report(
                f"{args.name} takes {what} {version}, which nobody mends any more. "
                f"From {versions.text(oldest)} on they are ({versions.AS_OF}).",
                None,
            )
    for part in maps(args.props) if args.resource_type.startswith("kubernetes:") else ():
        image = known(part, "image")
        if isinstance(image, str) and re.search(r"(^|/)[^:@/]+(:latest)?$", image):
            report(f"{args.name} runs {image}: another one tomorrow. Name a version, or better a digest.", None)


SECRET = re.compile(r"(password|passwd|passphrase|token|secret|private_?key|kubeconfig|root_?pass|api_?key)$", re.I)


def seal(value: Any) -> bool:
    """Makes secrets of what is named as one in it, where it lies; whether anything was none."""
    found = False
    if isinstance(value, Mapping):
        value = value["__target"]  # the library's proxy shows a secret as what is in it; behind it they differ
        for key, item in value.items():
            if SECRET.search(key) and isinstance(item, str) and item not in ("", UNKNOWN_STRING_VALUE):
                value[key] = Secret(item)
                found = True
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        found |= seal(item)
    return found


def secrets_secret(args: ResourceValidationArgs) -> Any:
    return args.props if seal(args.props) else None


def data_protected(args: StackValidationArgs, report: ReportViolation) -> None:
    bare = sorted(
        f"{HOLDS_DATA[its.resource_type]} {its.name}"
        for its in args.resources
        if its.resource_type in HOLDS_DATA and not its.opts.protect
    )
    if bare:
        report(
            f"{', '.join(bare)}: the cluster's data is there, and nothing keeps a `destroy` or a changed name from "
            "deleting it. Where it matters, set protect: true.",
            None,
        )


def pool_accepted(args: StackValidationArgs, report: ReportViolation) -> None:
    frr = [known(its.props, "stdin") or "" for its in args.resources if its.resource_type == COMMAND]
    permitted = re.findall(r"^ip prefix-list NODE-\S+ seq \d+ permit (\S+)", "\n".join(frr), re.MULTILINE)
    accepted = sorted(map(IPv4Network, set(permitted)))
    for its in args.resources if accepted else ():
        for cidr in pools(its.resource_type, its.props):
            given = IPv4Network(cidr, strict=False)
            if not any(given.subnet_of(one) for one in accepted):
                report(
                    f"{its.name} gives addresses of {cidr} to Services; the router drops them, as it accepts only "
                    f"{', '.join(map(str, accepted))}. Give both the same bgp.pool.",
                    its.urn,
                )


def pools(type_: str, props: Mapping[str, Any]) -> Iterator[str]:
    """The ranges that Cilium takes addresses of Services from."""
    if type_.endswith(":CiliumLoadBalancerIPPool"):
        for block in (*each(props, "spec", "blocks"), *each(props, "spec", "cidrs")):  # the latter until Cilium 1.15
            yield from filter(None, [known(block, "cidr")])
    if type_ == "kubernetes:core/v1:ConfigMap" and known(props, "metadata", "name") == "bgp-config":
        for pool in yaml.safe_load(known(props, "data", "config.yaml") or "{}").get("address-pools", ()):
            yield from pool["addresses"]


def cost_ceiling(args: StackValidationArgs, report: ReportViolation) -> None:
    ceiling = args.get_config()["dollarsPerMonth"]
    plans = {its.name: known(its.props, "type") for its in args.resources if its.resource_type == LINODE}
    for name, plan in plans.items():
        if plan and plan not in MONTHLY:
            report(
                f"{name} is a {plan}, whose price is not known here ({AS_OF}), so nothing can be said of the cost. "
                "Add it to policy/prices.py: linode-cli linodes types",
                None,
            )
    cost = sum(MONTHLY.get(plan, 0) for plan in plans.values())
    if cost > ceiling:
        vms = ", ".join(f"{name} ({plan})" for name, plan in plans.items())
        report(
            f"{vms} would cost {cost} dollars a month ({AS_OF}), more than {ceiling:g}. Take a smaller host.type, or "
            "raise dollarsPerMonth in policy/config.json.",
            None,
        )


RULES: tuple[Policy, ...] = (
    ResourceValidationPolicy(
        "nothing-open-to-the-world",
        "A cloud's firewall lets in only networks that were named.",
        nothing_open,
        EnforcementLevel.MANDATORY,
        PolicyConfigSchema({"ports": {"type": "array", "items": {"type": "integer"}, "default": []}}),
    ),
    ResourceValidationPolicy(
        "host-keys-pinned",
        "No machine is logged in to without knowing it.",
        host_keys_pinned,
        EnforcementLevel.MANDATORY,
    ),
    ResourceValidationPolicy(
        "versions-pinned", "The same `up` installs the same tomorrow.", versions_pinned, EnforcementLevel.MANDATORY
    ),
    ResourceValidationPolicy(
        "versions-supported", "What runs still gets fixes.", versions_supported, EnforcementLevel.ADVISORY
    ),
    ResourceValidationPolicy(
        "secrets-secret",
        "What is named a password, token or key is encrypted in the state.",
        remediate=secrets_secret,
        enforcement_level=EnforcementLevel.REMEDIATE,
    ),
    StackValidationPolicy(
        "data-protected", "What holds data is not deleted by the way.", data_protected, EnforcementLevel.ADVISORY
    ),
    StackValidationPolicy(
        "pool-accepted", "The router takes what Cilium announces.", pool_accepted, EnforcementLevel.MANDATORY
    ),
    StackValidationPolicy(
        "cost-ceiling",
        "The stack costs no more a month than was meant.",
        cost_ceiling,
        EnforcementLevel.MANDATORY,
        PolicyConfigSchema({"dollarsPerMonth": {"type": "number", "default": 100}}),
    ),
)
