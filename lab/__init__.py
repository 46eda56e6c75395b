"""The lab: real Kubernetes, Cilium, LXD and FRR on one machine, built from package registries."""
