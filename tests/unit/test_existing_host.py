"""A machine you have as the host: nothing of it is created, nothing dies with it."""

import socket

import pytest

from tests.unit.graph import EXISTING, SSH_KEY, Secret, plain, stack, values


def test_it_owns_nothing_and_says_where_it_is() -> None:
    its = stack(values(host=EXISTING))
    assert its.children("host") == {}
    assert not [resource for resource in its if resource.type.startswith("linode:")]
    assert its.outputs_of("host") == {"address": "192.0.2.10"}
    assert its.outputs["kube_api"] == "https://192.0.2.10:6443"
    assert plain(its.outputs["ssh_commands"])["host"] == "ssh -p 2222 admin@192.0.2.10"


def test_its_key_is_pinned_from_the_configuration() -> None:
    connection = stack(values(host=EXISTING))["lxd-install"].inputs["connection"]
    assert connection == Secret(
        {
            "host": "192.0.2.10",
            "port": 2222,
            "user": "admin",
            "privateKey": SSH_KEY,
            "hostKey": EXISTING["hostKey"],
            "dialErrorLimit": 8,
            "perDialTimeout": 15,
        }
    )


def test_any_user_but_root_works_by_sudo_and_never_with_a_password() -> None:
    assert stack(values(host=EXISTING))["lxd-install"].ran().sudo
    assert not stack(values(host=EXISTING | {"user": "root"}))["lxd-install"].ran().sudo


def test_nothing_on_it_dies_with_it() -> None:
    its = stack(values(host=EXISTING))
    on_host = [resource for name in ("lxd", "topology", "router") for resource in its.children(name).values()]
    assert len(on_host) == 16 + 1, "and the router's password, which is on no host"
    identities = {f"{node}-identity" for node in ("k3s1", "k3s2", "k3s3")}
    assert {resource.name for resource in on_host if resource.deleted_with} == identities, "with their instances"


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("127.8.9.10", "127.8.9.10"),
        ("me.example", "127.0.1.1"),  # as Debian writes /etc/hosts
        ("::1", "[::1]"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("192.0.2.10", "0.0.0.0"),
        ("2001:db8::7", "[::]"),
        ("no-such-host.invalid", "0.0.0.0"),
    ],
)
def test_the_api_listens_on_loopback_alone_where_the_host_is_reached_by_it(
    monkeypatch: pytest.MonkeyPatch, address: str, listen: str
) -> None:
    """There where it is reached: elsewhere nobody would answer."""
    here = "127.0.1.1" if address == "me.example" else address
    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest: known(here, *rest))
    its = stack(values(host=EXISTING | {"address": address}, k3s={"apiPort": 16443}))
    assert its["k3s-endpoint"].ran().parameters[1:4] == (listen, "10.26.23.1", "16443")


def test_an_ipv6_address_stands_in_brackets_in_a_url() -> None:
    its = stack(values(host=EXISTING | {"address": "2001:db8::7"}))
    assert its.outputs["kube_api"] == "https://[2001:db8::7]:6443"
    assert its.outputs["ssh_commands"]["host"] == "ssh -p 2222 admin@2001:db8::7"
