"""Types of single values. Each refuses what it cannot hold with a message that ends in what to write instead.

A refusal may carry the value that was probably meant; the remaining checks then go on with it.
"""

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from settings.versions import HUBBLE_METRICS

HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
RESERVED_ASNS = {
    0: "reserved (RFC 7607)",
    23456: "AS_TRANS, a placeholder for 4-byte numbers (RFC 6793)",
    65535: "reserved (RFC 7300)",
    4294967295: "reserved (RFC 7300)",
}


def refusal(text: str, suggestion: object = None) -> PydanticCustomError:
    """The error of a value: what follows "key: ", and perhaps the value that was meant."""
    return PydanticCustomError("refused", "{text}", {"text": text, "suggestion": suggestion})


class AddressRange(NamedTuple):
    """Addresses from first to last, both included. Written FIRST-LAST."""

    first: IPv4Address
    last: IPv4Address

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address) and self.first <= address <= self.last


def _network4(consequence: str) -> Callable[[object], IPv4Network]:
    def read(value: object) -> IPv4Network:
        network = _network(consequence)(value)
        if isinstance(network, IPv6Network):
            raise refusal(f"{value} is IPv6; bridge, pods and BGP sessions are IPv4 only here. Write an IPv4 CIDR.")
        return network

    return read


def _network(consequence: str) -> Callable[[object], IPv4Network | IPv6Network]:
    def read(value: object) -> IPv4Network | IPv6Network:
        if isinstance(value, list | tuple) and len(value) == 1:
            raise refusal(f"{value[0]} stands in a list; there is one network here. Write it alone.", value[0])
        if not isinstance(value, str):
            hint = "Write one, like" if isinstance(value, list | dict) or value is None else "Write it in quotes, like"
            raise refusal(f"{json.dumps(value, default=str)} is not a network in CIDR form. {hint} '192.0.2.0/24'.")
        try:
            return ip_network(value)
        except ValueError:
            pass
        try:
            meant = ip_network(value, strict=False)
        except ValueError:
            raise refusal(
                f"{value} is not a network in CIDR form, so nothing can be checked against it. Write "
                "ADDRESS/PREFIX, like 192.0.2.0/24."
            ) from None
        raise refusal(
            f"{value} has host bits set; its network would be {meant}. {consequence} Write {meant}.", str(meant)
        )

    return read


def _address4(value: object) -> IPv4Address:
    try:
        return IPv4Address(str(value))
    except ValueError:
        meant = str(value).partition("/")[0]
        if "/" in str(value) and _is_ipv4(meant):
            raise refusal(
                f"{value} has a prefix length; an address stands alone here, the bridge gives the network. Write "
                f"{meant}.",
                meant,
            ) from None
        raise refusal(
            f"{value} is not an IPv4 address; the node could not have it. "
            "Write four numbers of 0 to 255, like 10.26.23.11."
        ) from None


def _router_address(value: object) -> IPv4Address | IPv6Address:
    try:
        return ip_address(str(value))
    except ValueError:
        raise refusal(
            f"{value} is not an IP address; no router could be dialled there. Write it like 192.168.1.1 or 2001:db8::1."
        ) from None


def _community(value: object) -> str:
    numbers = re.fullmatch(r"(\d{1,5}):(\d{1,5})", str(value))
    if not numbers or any(int(number) > 65535 for number in numbers.groups()):
        raise refusal(
            f"{value} is not a community (RFC 1997: two numbers of 16 bits); the router would refuse it. Write it like "
            "'65000:1', in quotes."
        )
    return str(value)


def _is_ipv4(value: str) -> bool:
    try:
        IPv4Address(value)
    except ValueError:
        return False
    return True


def _bridge_address(value: object) -> IPv4Interface:
    try:
        interface = IPv4Interface(str(value))
    except ValueError:
        raise refusal(
            f"{value} is not an IPv4 address with a prefix length; the bridge would have no network. Write it "
            "like 10.26.23.1/24."
        ) from None
    if "/" not in str(value):
        meant = f"{value}/24"
        raise refusal(
            f"{value} has no prefix length; the bridge would be a network of one address. Write {meant}, if that "
            "is its size.",
            meant,
        )
    network = interface.network
    if network.prefixlen > 29:
        raise refusal(
            f"{value} leaves {max(network.num_addresses - 2, 0)} addresses for the gateway, the nodes and DHCP. "
            f"Write a prefix of /29 or shorter, e.g. {interface.ip}/24."
        )
    if interface.ip in (network.network_address, network.broadcast_address):
        meant = f"{network.network_address + 1}/{network.prefixlen}"
        end = "network" if interface.ip == network.network_address else "broadcast"
        raise refusal(
            f"{value} is the {end} address of {network}; no machine can have it, and the bridge needs the "
            f"gateway's own. Write {meant}.",
            meant,
        )
    return interface


def _address_range(value: object) -> AddressRange:
    first, dash, last = str(value).partition("-")
    try:
        if not dash:
            raise ValueError
        found = AddressRange(IPv4Address(first.strip()), IPv4Address(last.strip()))
    except ValueError:
        raise refusal(
            f"{value} is not a range of addresses, so LXD would refuse the bridge. Write FIRST-LAST, like "
            "10.26.23.200-10.26.23.250, or null to have one chosen."
        ) from None
    if found.first > found.last:
        meant = f"{found.last}-{found.first}"
        raise refusal(f"{value} ends before it begins; DHCP would have nothing to give. Write {meant}.", meant)
    return found


def _bounded(least: int, most: int | None, what: str) -> Callable[[int], int]:
    def check(value: int) -> int:
        if value < least or (most is not None and value > most):
            upto = f"{least} or more" if most is None else f"{least} to {most}"
            raise refusal(f"{value} is not {what}. Write {upto}.")
        return value

    return check


def _asn(value: int) -> int:
    if value in RESERVED_ASNS:
        raise refusal(
            f"{value} is {RESERVED_ASNS[value]}; no router may use it, and the session would be refused. Choose "
            "a private one: 64512 to 65534, or 4200000000 to 4294967294."
        )
    if not 0 < value < 2**32:
        raise refusal(
            f"{value} is not an AS number (those have 32 bits); the router would refuse it. "
            "Choose a private one: 64512 to 65534, or 4200000000 to 4294967294."
        )
    return value


def _hold_time(value: int) -> int:
    if value != 0 and not 3 <= value <= 65535:
        raise refusal(
            f"{value} is not a BGP hold time (RFC 4271: 0, or 3 to 65535 seconds); peers would refuse the "
            "session. Write 90, or 9 to notice a dead node sooner."
        )
    return value


def _authentication(value: object) -> str:
    if value == "none":
        raise refusal(
            "none is no longer possible; any pod could take its node's session and the routes with it. Write md5 or "
            "remove the key: the stack makes a password, and gives it to both sides.",
            "md5",
        )
    return str(value)


def _k3s_version(value: str) -> str:
    if re.fullmatch(r"v\d+\.\d+\.\d+\+k3s\d+", value):
        return value
    numbers = re.fullmatch(r"v?(\d+\.\d+\.\d+)(?:[+-]?k3s(\d+))?", value)
    if numbers:
        meant = f"v{numbers[1]}+k3s{numbers[2] or 1}"
        raise refusal(
            f"{value} is not how k3s writes its releases; the installer would not find it. Write {meant}.", meant
        )
    raise refusal(
        f"{value} is not a k3s release; the installer would not find it. Write it like v1.25.6+k3s1 "
        "(https://github.com/k3s-io/k3s/releases)."
    )


def _cilium_version(value: str) -> str:
    if re.fullmatch(r"\d+\.\d+\.\d+", value):
        return value
    numbers = re.fullmatch(r"v?(\d+\.\d+)(\.\d+)?", value)
    if numbers:
        meant = f"{numbers[1]}{numbers[2] or '.0'}"
        raise refusal(
            f"{value} is not how the chart's releases are written; helm would not find it. Write {meant}.", meant
        )
    raise refusal(
        f"{value} is not a Cilium release; helm would not find it. Write it like 1.13.0 "
        "(https://github.com/cilium/cilium/releases)."
    )


def _bridge_name(value: str) -> str:
    if len(value) > 15:
        raise refusal(
            f"{value} has {len(value)} characters; Linux allows 15 in the name of an interface. Write a shorter "
            f"one, e.g. {value[:15].rstrip('-_.')}.",
            value[:15],
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]+", value):
        raise refusal(
            f"{value!r} is not a name that LXD takes for a bridge; it would refuse it. "
            "Write 2 to 15 letters, digits, '-', '_' or '.', like lxdbr0."
        )
    return value


def _image(value: str) -> str:
    if re.fullmatch(r"(ubuntu|local):[^\s:]+", value):
        return value
    if value.startswith("images:"):
        raise refusal(
            f"{value} has no SSH server, as all of images:, so no node could be entered. Write ubuntu:22.04, or "
            "local:ALIAS of an image that has one, and cloud-init."
        )
    hint = value if re.fullmatch(r"\d\d\.\d\d", value) else "22.04"
    raise refusal(
        f"{value!r} does not say where LXD finds the image, so no node could start. Write ubuntu:NAME or "
        f"local:ALIAS, e.g. ubuntu:{hint}."
    )


def _without_login(value: str) -> None:
    its = urlsplit(value)
    if its.username or its.password:
        raise refusal(
            f"{its.scheme}://…@{its.hostname} has a login in it; everybody could read it in the machines' list of "
            "processes, in the state and in logs. Use a place that asks for none."
        )


def _url(value: str) -> str:
    _without_login(value)
    if re.search(r"\s", value) or urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
        raise refusal(
            f"{value!r} is not an http or https URL; the nodes could not download from it. Write it like "
            "https://get.k3s.io."
        )
    return value


def _installer(value: str) -> str:
    _url(value)
    fragment = urlsplit(value).fragment
    if fragment and not re.fullmatch(r"sha256=[0-9a-f]{64}", fragment):
        raise refusal(
            f"{value!r} ends with no SHA-256 of the installer, so it could not be checked. Write 64 hex digits in "
            "lower case after #sha256=: curl -fsSL URL | sha256sum"
        )
    return value


def _chart(value: str) -> str:
    _without_login(value)
    remote = re.fullmatch(r"(https?|oci)://[^\s/]+\S*", value)
    local = "://" not in value and re.fullmatch(r"(\.{0,2}/)\S.*|\S.*\.tgz", value)
    if not (remote or local):
        raise refusal(
            f"{value!r} is not a place where helm finds a chart. Write a repository (https://…), an OCI address "
            "(oci://…), or the path of a folder or .tgz (./…)."
        )
    return value


def _host(value: str) -> str:
    user, at, host = value.rpartition("@")
    if at:
        raise refusal(
            f"{value} has a user in it; the name would not resolve. Write {host} here and {user} as host.user.", host
        )
    try:
        ip_address(value)
    except ValueError:
        if not re.fullmatch(
            r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?", value
        ) or re.fullmatch(r"[\d.]+", value):
            raise refusal(
                f"{value!r} is neither an IP address nor a DNS name; SSH could not dial it. Write it like "
                "127.0.0.1 or host.example.com."
            ) from None
    return value


def _linode_label(value: str) -> str:
    if not re.fullmatch(r"(?!.*(--|__|\.\.))[A-Za-z0-9][A-Za-z0-9_.-]{1,48}[A-Za-z0-9]", value):
        raise refusal(
            f"{value!r} is not a label that Linode takes; it would refuse the VM. "
            "Write 3 to 50 letters, digits, '-', '_' or '.', without two signs in a row, like lxdserver."
        )
    return value


def _word(value: str) -> str:
    if not re.fullmatch(r"\S+", value):
        raise refusal(f"{value!r} is empty or has a blank in it; nothing has such a name. Write a name.")
    return value


def _authorized_key(value: str) -> str:
    kind, key = (*value.split(), "", "")[:2]
    if "\n" in value.strip() or not _is_public_key(kind, key):
        raise refusal(
            f"{value[:40]!r} is not a public SSH key; nobody could log in with it. Write a .pub file's one line, "
            "'ssh-ed25519 AAAA…', without options."
        )
    return f"{kind} {key}"


def _like(pattern: str, consequence: str, form: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise refusal(f"{value!r} is no such name; {consequence}. Write {form}.")
        return value

    return check


# lxd/api_project.go; for pools what is a folder and part of a URL.
_project = _like(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", "LXD would refuse it", "letters, digits, '-' and '.': cilium-bgp")
_pool_name = _like(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "LXD would refuse it", "letters, digits, '-', '_' and '.'")
_user = _like(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", "no system has a user of it", "the login name, like root or ubuntu")
_folder = _like(r"(?:/[A-Za-z0-9._-]+)+", "no folder of a host is called so", "its whole path: /var/backups/cilium-bgp")
_snapshot = _like(r"[A-Za-z0-9][A-Za-z0-9._-]*", "no snapshot is called so", "the name alone, without a folder")
# docs.aws.amazon.com/AmazonS3, general purpose buckets
_bucket = _like(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "no bucket is called so", "3 to 63 of a to z, digits, '-' and '.'")
_endpoint = _like(
    r"[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?", "k3s would not reach it", "its host name alone: s3.example.com"
)
_prefix = _like(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", "k3s would not find it again", "folders, '/' between them")
_FIELD = r"[0-9*][0-9*/,-]*"
_cron = _like(rf"{_FIELD}( {_FIELD}){{4}}", "k3s would not start with it", "five fields, like '0 */12 * * *'")
# github.com/distribution/reference
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_container_image = _like(
    rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    "its pods would stay in InvalidImageName",
    "NAME:TAG, the name in lower case, like mcas/franceconnect-demo2:latest",
)


def _passwords(value: object) -> object:
    """As Pulumi gives a secret map: its JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(its, str) for its in found.values()):
        raise refusal(
            "is no map of passwords by the upstream's name, so no session could be signed with it. Set each by itself: "
            "pulumi config set --secret --path cilium-bgp:upstreamPasswords.NAME"
        )
    return found


def _host_key(value: str) -> str:
    words = value.split()
    place = next((i for i, word in enumerate(words) if word in HOST_KEY_TYPES), None)
    if place is None and "ssh-rsa" in words:
        raise refusal(
            "is ssh-rsa; the command plugin asks for its signature with SHA-1, which OpenSSH refuses from 8.8 on, so "
            "nothing would connect. Take another of the machine's keys: ssh-keyscan -t ed25519 ADDRESS"
        )
    if place is None:
        what = (
            "a fingerprint, from which no key can be pinned"
            if value.startswith(("SHA256:", "MD5:"))
            else "not a public host key"
        )
        raise refusal(
            f"{value[:40]!r} is {what}. Write it like 'ssh-ed25519 AAAA…', the second and third word of "
            "ssh-keyscan's line."
        )
    kind, key = words[place], (words[place + 1 :] or [""])[0]
    if not _is_public_key(kind, key):
        raise refusal(
            f"{kind} {key[:16]}… is damaged: its base64 part does not hold a key of type {kind}, so no host "
            "would match it. Copy the whole line of ssh-keyscan again."
        )
    if place:
        raise refusal(
            f"{words[0]} stands before the key, as in ssh-keyscan's lines; the address is host.address already. "
            f"Write {kind} {key}.",
            f"{kind} {key}",
        )
    return f"{kind} {key}"


def _is_public_key(kind: str, key: str) -> bool:
    try:
        blob = base64.b64decode(key, validate=True)
        parts = []
        while blob:
            (length,) = struct.unpack_from(">I", blob)
            parts.append(blob[4 : 4 + length])
            if len(parts[-1]) != length:
                return False
            blob = blob[4 + length :]
    except (binascii.Error, struct.error):
        return False
    return len(parts) >= 2 and parts[0] == kind.encode() and (kind != "ssh-ed25519" or len(parts[1]) == 32)


def _metric(value: str) -> str:
    name = value.partition(":")[0]
    if name not in HUBBLE_METRICS:
        raise refusal(
            f"{value} is not a metric of Hubble; the agents would not start. Choose from {', '.join(HUBBLE_METRICS)}."
        )
    return value


Port = Annotated[int, AfterValidator(_bounded(1, 65535, "a TCP port; nothing could listen there"))]
Seconds = Annotated[
    int, AfterValidator(_bounded(1, None, "a time to wait in seconds; there would be no waiting at all"))
]
Generation = Annotated[int, AfterValidator(_bounded(1, None, "a generation; it counts from 1"))]
Count = Annotated[int, AfterValidator(_bounded(1, None, "a number of pods that could answer; nobody would"))]
Wave = Annotated[int, AfterValidator(_bounded(1, None, "a number of nodes; none would ever be changed"))]
Kept = Annotated[int, AfterValidator(_bounded(1, None, "a number of snapshots to keep; there would be none"))]
TimerSeconds = Annotated[
    int, AfterValidator(_bounded(1, 65535, "a BGP timer in seconds; Cilium and the router would refuse it"))
]
Hops = Annotated[int, AfterValidator(_bounded(1, 255, "a number of hops; packets live for 255 at most"))]
RestartTime = Annotated[
    int, AfterValidator(_bounded(1, 4095, "a restart time in seconds (RFC 4724: 12 bits); Cilium would refuse it"))
]
HoldTime = Annotated[int, AfterValidator(_hold_time)]
Asn = Annotated[int, AfterValidator(_asn)]
Authentication = Annotated[Literal["md5"], BeforeValidator(_authentication)]
Pool = Annotated[IPv4Network, PlainValidator(_network4("Cilium would hand out addresses you did not mean."))]
PodCidr = Annotated[IPv4Network, PlainValidator(_network4("Pods would get addresses you did not mean."))]
ServiceCidr = Annotated[IPv4Network, PlainValidator(_network4("Services would get addresses you did not mean."))]
AllowedCidr = Annotated[
    IPv4Network | IPv6Network, PlainValidator(_network("The firewall would let in addresses you did not mean."))
]
NodeAddress = Annotated[IPv4Address, PlainValidator(_address4)]
RouterAddress = Annotated[IPv4Address | IPv6Address, PlainValidator(_router_address)]
Community = Annotated[str, BeforeValidator(_community)]
BridgeAddress = Annotated[IPv4Interface, PlainValidator(_bridge_address)]
DhcpRange = Annotated[AddressRange, PlainValidator(_address_range)]
K3sVersion = Annotated[str, AfterValidator(_k3s_version)]
CiliumVersion = Annotated[str, AfterValidator(_cilium_version)]
BridgeName = Annotated[str, AfterValidator(_bridge_name)]
LxdImage = Annotated[str, AfterValidator(_image)]
Url = Annotated[str, AfterValidator(_url)]
InstallerUrl = Annotated[str, AfterValidator(_installer)]
Chart = Annotated[str, AfterValidator(_chart)]
HostAddress = Annotated[str, AfterValidator(_host)]
LinodeLabel = Annotated[str, AfterValidator(_linode_label)]
ProjectName = Annotated[str, AfterValidator(_project)]
PoolName = Annotated[str, AfterValidator(_pool_name)]
UserName = Annotated[str, AfterValidator(_user)]
ContainerImage = Annotated[str, AfterValidator(_container_image)]
Word = Annotated[str, AfterValidator(_word)]
HostFolder = Annotated[str, AfterValidator(_folder)]
SnapshotName = Annotated[str, AfterValidator(_snapshot)]
BucketName = Annotated[str, AfterValidator(_bucket)]
BucketEndpoint = Annotated[str, AfterValidator(_endpoint)]
BucketFolder = Annotated[str, AfterValidator(_prefix)]
Schedule = Annotated[str, AfterValidator(_cron)]
HostKey = Annotated[str, AfterValidator(_host_key)]
Passwords = Annotated[dict[str, str], BeforeValidator(_passwords)]
AuthorizedKey = Annotated[str, AfterValidator(_authorized_key)]
HubbleMetric = Annotated[str, AfterValidator(_metric)]
