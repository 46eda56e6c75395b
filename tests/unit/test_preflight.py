"""The look at the host: before all else, with what the stack needs there, and the host is the stack's from then on."""

from tests.unit.graph import EXISTING, dev, stack, values


def test_it_is_asked_about_all_that_the_stack_brings() -> None:
    looked = dev()["preflight-host"]
    networks = ("10.26.23.1/24", "10.26.23.32/27", "10.42.0.0/16", "10.43.0.0/16")
    nodes = ("1", "", "k3s1", "k3s2", "k3s3")
    assert looked.ran().file == "preflight.sh"
    assert looked.ran().parameters == (
        *("0f" * 8, "cilium-bgp/dev", "root", "lxdbr0", *networks, "default", "default", "dir", "6443", *nodes),
    )
    assert dev()["preflight-host-finalizer"].ran("command").file == "host_release.sh"


def test_a_user_who_is_not_root_is_named() -> None:
    assert stack(values(host=EXISTING))["preflight-host"].ran().parameters[2] == "admin"


def test_nothing_on_the_host_comes_before_it() -> None:
    for name in ("lxd-install", "lxd-kernel", "lxd-ssh-key", "firewall-rules"):
        assert "preflight-host" in dev().before(dev()[name])


def test_the_owner_is_made_once_and_no_secret() -> None:
    assert dev()["preflight-owner"].additional_secret_outputs == set()


def test_it_says_that_the_host_is_ready() -> None:
    assert dev().outputs_of("preflight") == {"ready": "ready"}
