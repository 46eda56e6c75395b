"""Type tokens of what the rules, and the lines for a reviewer, are about."""

COMMAND = "command:remote:Command"
FIREWALL = "linode:index/firewall:Firewall"
LINODE = "linode:index/instance:Instance"
LXD_INSTANCE = "pulumi-python:dynamic/lxd:Instance"
RELEASE = "kubernetes:helm.sh/v3:Release"
RUNNING = "pulumi-python:dynamic/cilium-bgp:Running"
