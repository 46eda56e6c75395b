"""What of the cluster's objects is the stack's own; it takes nothing else over."""

import pulumi

from components import remote
from components.node import ControlPlane
from components.remote import Script

OURS = {"app.kubernetes.io/managed-by": "cilium-bgp"}
"""Label of every object of the stack's."""


def only_ours(name: str, server: ControlPlane) -> pulumi.ResourceOptions:
    """Options of an object. Before it is made: one of that name that is there already is the stack's own, or it is
    refused.

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

    hooks = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(hook, look)])
    return pulumi.ResourceOptions.merge(of_this_cluster(server), pulumi.ResourceOptions(hooks=hooks))


def of_this_cluster(server: ControlPlane) -> pulumi.ResourceOptions:
    """Options of what another cluster does not have, also where the run that was to make it there was killed after it
    had replaced the provider: the engine (3.259) knows the former provider by its name, which is the new one's too."""
    return pulumi.ResourceOptions(deleted_with=server.machine, replacement_trigger=server.identity)
