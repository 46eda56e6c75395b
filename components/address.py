"""Addresses and names of machines, as they are written and what they lead to."""

import socket
from ipaddress import IPv6Address, ip_address


def in_url(host: str) -> str:
    """As a URL has it: an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    try:
        return f"[{host}]" if isinstance(ip_address(host), IPv6Address) else host
    except ValueError:
        return host


def is_loopback(host: str) -> bool:
    """Whether it leads to this machine itself: by its address, or by every address that its name has here."""
    try:
        found = [ip_address(host)]
    except ValueError:
        try:
            infos = socket.getaddrinfo(host, None)
        except OSError:
            return False
        found = [ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    return all((getattr(its, "ipv4_mapped", None) or its).is_loopback for its in found)
