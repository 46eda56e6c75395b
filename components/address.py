"""Addresses and names of machines, as they are written and what they lead to."""

import socket
from ipaddress import IPv6Address, ip_address


def in_url(host: str) -> str:
    """As a URL has it: an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    try:
        return f"[{host}]" if isinstance(ip_address(host), IPv6Address) else host
    except ValueError:
        return host


def loopback(host: str) -> str:
    """The loopback address of this machine that it leads to, as a URL has it; empty where it leads beyond it.

    A name is what it is here; of several addresses the first is taken that IPv4 has.
    """
    try:
        found = [ip_address(host)]
    except ValueError:
        try:
            infos = socket.getaddrinfo(host, None)
        except OSError:
            return ""
        found = [ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    found = [getattr(its, "ipv4_mapped", None) or its for its in found]
    first = min(found, key=lambda its: its.version)
    return in_url(str(first)) if all(its.is_loopback for its in found) else ""
