"""Pulumi dynamic resources for LXD, over pylxd, through LXD's Unix socket forwarded by SSH.

The import paths of the provider classes are in every stack's state: renaming or moving one breaks `pulumi destroy`.
Nothing here imports asyncssh or pylxd before a provider connects, and check and diff (all of a preview) never connect.
"""

from .endpoint import Endpoint
from .entity import Adopt
from .forward import Forward, Port
from .identity import Identity
from .inputs import Devices
from .instance import Instance
from .network import Network
from .profile import Profile
from .project import Project
from .storage_pool import StoragePool

__all__ = [
    "Adopt",
    "Devices",
    "Endpoint",
    "Forward",
    "Identity",
    "Instance",
    "Network",
    "Port",
    "Profile",
    "Project",
    "StoragePool",
]
