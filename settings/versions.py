"""Which Cilium goes with which Kubernetes, which BGP mode and which metrics, and which of them still get fixes.

Sources: Documentation/network/kubernetes/compatibility.rst of each Cilium release; the configmap mode was removed in
1.17 (cilium#36191), CiliumBGPClusterConfig is usable from 1.16; pkg/hubble/metrics; the patch releases pages of both.
"""

from typing import NamedTuple

Minor = tuple[int, int]


class Tested(NamedTuple):
    """From a patch release on, the oldest and newest Kubernetes that Cilium is tested with."""

    patch: int
    oldest: Minor
    newest: Minor

    def __str__(self) -> str:
        return f"{text(self.oldest)} to {text(self.newest)}"


TESTED_KUBERNETES: dict[Minor, tuple[Tested, ...]] = {
    (1, 13): (Tested(0, (1, 16), (1, 26)),),
    (1, 14): (Tested(0, (1, 19), (1, 27)),),
    (1, 15): (Tested(0, (1, 26), (1, 29)),),
    (1, 16): (Tested(0, (1, 27), (1, 30)),),
    (1, 17): (Tested(0, (1, 29), (1, 32)),),
    (1, 18): (Tested(0, (1, 30), (1, 33)),),
    # Of 1.19.2 only what its neighbours have in common is claimed: its page was not seen.
    (1, 19): (Tested(0, (1, 31), (1, 34)), Tested(2, (1, 32), (1, 34)), Tested(3, (1, 32), (1, 35))),
    (1, 20): (Tested(0, (1, 33), (1, 36)),),
}
"""By Cilium's minor release."""

MODES: dict[str, tuple[Minor, Minor | None]] = {"configmap": ((1, 10), (1, 16)), "control-plane": ((1, 16), None)}
"""bgp.mode to the oldest and newest Cilium that has it."""

FIXED_CILIUM: Minor = (1, 18)
FIXED_KUBERNETES: Minor = (1, 35)
"""The oldest that still get fixes, as of AS_OF: Cilium's three newest; Kubernetes 1.34 ended on 2026-10-27."""
AS_OF = "November 2026"

K3S_INSTALLER = (
    "https://raw.githubusercontent.com/k3s-io/k3s/v1.36.4%2Bk3s1/install.sh"
    "#sha256=46177d4c99440b4c0311b67233823a8e8a2fc09693f6c89af1a7161e152fbfad"
)
"""k3s's own, as it is at that tag; it installs the release that it is told."""

KUBERNETES_ENDS: dict[Minor, str] = {
    (1, 25): "2023-10-28",
    (1, 26): "2024-02-28",
    (1, 27): "2024-07-16",
    (1, 28): "2024-10-22",
    (1, 29): "2025-02-28",
    (1, 30): "2025-07-15",
    (1, 31): "2025-11-11",
    (1, 32): "2026-02-28",
    (1, 33): "2026-06-28",
    (1, 34): "2026-10-27",
    (1, 35): "2027-02-28",
    (1, 36): "2027-06-28",
    (1, 37): "2027-10-28",
}
"""The day after which a minor release gets no fixes (ISO 8601), from kubernetes.io/releases."""

HUBBLE_METRICS: dict[str, tuple[Minor | None, Minor | None]] = {
    "dns": (None, None),
    "drop": (None, None),
    "flow": (None, None),
    "flows-to-world": (None, None),
    "http": (None, None),
    "httpV2": (None, None),
    "icmp": (None, None),
    "kafka": (None, (1, 19)),
    "policy": (None, None),
    "port-distribution": (None, None),
    "sctp": ((1, 20), None),
    "tcp": (None, None),
}
"""What Cilium's agent registers, to the oldest and newest Cilium of this table that does; None where all do."""

EXCLUSIVE_METRICS = ("http", "httpV2")
"""The agent takes one of them (ConflictingPlugins)."""


def minor(version: str) -> Minor:
    """(1, 25) of v1.25.6+k3s1, (1, 13) of 1.13.0."""
    major, minor_number, _ = version.removeprefix("v").split(".", 2)
    return int(major), int(minor_number)


def text(version: Minor) -> str:
    """1.25 of (1, 25)."""
    return ".".join(map(str, version))


def has_mode(cilium: Minor, mode: str) -> bool:
    """Whether that Cilium knows that bgp.mode."""
    return _within(cilium, MODES[mode])


def has_metric(cilium: Minor, metric: str) -> bool:
    """Whether that Cilium knows that metric of Hubble."""
    return _within(cilium, HUBBLE_METRICS[metric])


def tested(release: str) -> Tested | None:
    """What the Cilium `release` is tested with; None where that is not known here."""
    patch = int(release.rpartition(".")[2])
    known = [its for its in TESTED_KUBERNETES.get(minor(release), ()) if its.patch <= patch]
    return known[-1] if known else None


def tested_with(kubernetes: Minor) -> list[tuple[Minor, str]]:
    """The Ciliums whose newest patch releases are tested with that Kubernetes, oldest first, and how to say it."""
    return [
        (cilium, f"{text(cilium)}.{its.patch} or later" if its.patch else text(cilium))
        for cilium, (*_, its) in TESTED_KUBERNETES.items()
        if its.oldest <= kubernetes <= its.newest
    ]


def _within(version: Minor, bounds: tuple[Minor | None, Minor | None]) -> bool:
    oldest, newest = bounds
    return (oldest is None or oldest <= version) and (newest is None or version <= newest)
