"""The providers of a stack that is simulated, by the names that the engine has for them."""

from simulator.kubernetes import PretendKubernetes
from simulator.linode import Linode
from standin.command import Command
from standin.serve import Provider

PROVIDERS: dict[str, type[Provider]] = {"command": Command, "kubernetes": PretendKubernetes, "linode": Linode}
