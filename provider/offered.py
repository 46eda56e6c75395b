"""What the package has in it."""

from provider.bgp_router import BgpRouter
from provider.lxd_topology import LxdTopology

NAME = "cilium-bgp"
VERSION = "0.1.0"
COMPONENTS = [BgpRouter, LxdTopology]
