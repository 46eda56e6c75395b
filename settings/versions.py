"""Which Cilium goes with which Kubernetes and which BGP mode.

Sources: Documentation/network/kubernetes/compatibility.rst of each Cilium release; the configmap mode
was removed in 1.17 (cilium#36191), CiliumBGPClusterConfig is usable from 1.16.
"""

Minor = tuple[int, int]

TESTED_KUBERNETES: dict[Minor, tuple[Minor, Minor]] = {
    (1, 13): ((1, 16), (1, 26)),
    (1, 15): ((1, 26), (1, 29)),
    (1, 16): ((1, 27), (1, 30)),
    (1, 17): ((1, 29), (1, 32)),
    (1, 18): ((1, 30), (1, 33)),
    (1, 19): ((1, 31), (1, 34)),
}
"""Cilium to the oldest and newest Kubernetes that its release is tested with."""

MODES: dict[str, tuple[Minor, Minor | None]] = {"configmap": ((1, 10), (1, 16)), "control-plane": ((1, 16), None)}
"""bgp.mode to the oldest and newest Cilium that has it."""


def minor(version: str) -> Minor:
    """(1, 25) of v1.25.6+k3s1, (1, 13) of 1.13.0."""
    major, minor_number, _ = version.removeprefix("v").split(".", 2)
    return int(major), int(minor_number)


def text(version: Minor) -> str:
    """1.25 of (1, 25)."""
    return ".".join(map(str, version))


def has_mode(cilium: Minor, mode: str) -> bool:
    """Whether that Cilium knows that bgp.mode."""
    oldest, newest = MODES[mode]
    return oldest <= cilium and (newest is None or cilium <= newest)


def tested_with(kubernetes: Minor) -> list[Minor]:
    """The Ciliums that are tested with that Kubernetes, oldest first."""
    return [cilium for cilium, (oldest, newest) in TESTED_KUBERNETES.items() if oldest <= kubernetes <= newest]
