"""Each node's own pods on the router: asked of the cluster, told to the host, proven last."""

from tests.unit.graph import dev, stack, values


def test_the_router_is_told_what_the_cluster_says_of_each_node() -> None:
    ranges, router = dev()["pods-ranges"].ran(), dev()["pods-router"].ran()
    assert (ranges.file, ranges.parameters) == ("pod_ranges.py", ("300", "10.42.0.0/16", "k3s1", "k3s2", "k3s3"))
    pairs = ("10.26.23.11=10.42.0.0/24", "10.26.23.12=10.42.1.0/24", "10.26.23.13=10.42.2.0/24")
    assert (router.file, router.parameters) == ("frr_pods.sh", ("300", *pairs))
    assert dev().outputs_of("pods") == {"routes": " ".join(pairs)}


def test_after_cilium_and_the_router_and_before_the_proof() -> None:
    assert {"cilium-ready", "router-frr"} <= dev().before(dev()["pods-ranges"])
    assert "pods-router" in dev().before(dev()["proof-routes"])


def test_the_ranges_go_with_it() -> None:
    gone = dev()["pods-router-finalizer"].ran("command")
    assert (gone.file, gone.parameters) == ("frr_pods.sh", ("0",))
    without = stack(values(bgp={"announcePodCidr": False}))
    assert [resource.name for resource in without if resource.name.startswith("pods")] == []
