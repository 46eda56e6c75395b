"""What of the cluster's objects is the stack's own; it takes nothing else over."""

import pulumi

from components import remote
from components.node import ControlPlane
from components.remote import Script

OURS = {"app.kubernetes.io/managed-by": "cilium-bgp"}
"""Label of every object of the stack's."""


def only_ours(name: str, server: ControlPlane) -> pulumi.ResourceHookBinding:
    """Before an object is made: one of that name that is there already is the stack's own, or it is refused.

    The provider takes over what exists, for what a run that was killed has made is not in its state. What is
    somebody's it would change too, and delete with the stack.
    """
    hook = f"{name}-only-ours"

    async def look(made: pulumi.ResourceHookArgs) -> None:
        its = made.new_inputs or {}
        group, _, version = str(its["apiVersion"]).rpartition("/")
        kind = f"{its['kind']}.{version}.{group}" if group else its["kind"]
        metadata = its["metadata"]
        script = Script("object_is_ours.sh", [kind, metadata.get("namespace", "default"), metadata["name"]], 60)
        await remote.run_now(f"{name}-{its['kind']}-{metadata['name']}-only-ours", script, server.connection)

    return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(hook, look)])
