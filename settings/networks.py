"""Arithmetic of IPv4 networks."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from settings.values import AddressRange


def largest_free_range(network: IPv4Network, taken: Iterable[IPv4Network]) -> AddressRange | None:
    """The longest run of the network's host addresses that no taken network touches; the first of equals."""
    end = int(network.broadcast_address)
    start = int(network.network_address) + 1
    runs = []
    for first, last in sorted((int(block.network_address), int(block.broadcast_address)) for block in taken):
        runs.append((start, min(first, end) - 1))
        start = max(start, last + 1)
    runs.append((start, end - 1))
    first, last = max(runs, key=lambda run: run[1] - run[0])
    return AddressRange(IPv4Address(first), IPv4Address(last)) if first <= last else None
