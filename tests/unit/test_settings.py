"""What the corpus in tests/configurations does not show: loading from Pulumi, derived values, and properties."""

import copy
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import assume, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from pulumi.runtime.config import set_all_config

import settings
from settings import checks
from settings.networks import largest_free_range
from settings.sections import keys, sections

ROOT = Path(__file__).parents[2]
PAIR = ed25519.Ed25519PrivateKey.generate()
PRIVATE = PAIR.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
).decode()
PUBLIC = PAIR.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
SECRETS = {"sshPrivateKey": PRIVATE}
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICvu8x+dhIJTkOnPzLd/NRIBn1z9VWkjeK7QE2TDSasY"
BASE: dict[str, Any] = {
    "host": {"kind": "existing", "hostKey": HOST_KEY},
    "nodes": {
        "k3s1": {"role": "server", "address": "10.26.23.11"},
        "k3s2": {"role": "agent", "address": "10.26.23.12"},
    },
}


def parse(**roots: object) -> settings.Settings:
    return settings.parse(BASE | roots, SECRETS)


def problems(values: dict[str, Any], secrets: dict[str, str] | None = None) -> list[str]:
    try:
        settings.parse(values, SECRETS if secrets is None else secrets)
    except settings.ConfigurationError as error:
        return error.problems
    return []


class TestDerivedValues:
    def test_servers_and_agents_keep_the_order_of_the_configuration(self) -> None:
        nodes = {
            "z": {"role": "server", "address": "10.26.23.11"},
            "m": {"role": "agent", "address": "10.26.23.12"},
            "a": {"role": "agent", "address": "10.26.23.13"},
        }
        its = parse(nodes=nodes)
        assert list(its.servers) == ["z"]
        assert list(its.agents) == ["m", "a"]

    def test_bridge(self) -> None:
        bridge = parse().lxd.bridge
        assert bridge.gateway == IPv4Address("10.26.23.1")
        assert bridge.network == IPv4Network("10.26.23.0/24")

    def test_dhcp_range_is_the_largest_free_run(self) -> None:
        assert parse().dhcp_range == "10.26.23.64-10.26.23.254"

    def test_dhcp_range_as_configured(self) -> None:
        its = parse(lxd={"bridge": {"dhcpRange": "10.26.23.200-10.26.23.210"}})
        assert its.dhcp_range == "10.26.23.200-10.26.23.210"

    def test_load_balancers_are_those_that_take_an_address(self) -> None:
        assert list(parse().load_balancers) == [
            "kube-system/traefik",
            "kube-system/hubble-relay",
            "kube-system/hubble-ui",
            "default/fcdemo-service",
        ]
        its = parse(hubble={"serviceType": "ClusterIP"}, fcdemo={"enabled": False})
        assert list(its.load_balancers) == ["kube-system/traefik"]

    def test_what_cilium_values_switch_off_takes_no_address(self) -> None:
        further = {"hubble": {"ui": {"enabled": False}, "relay": {"service": {"type": "ClusterIP"}}}}
        assert list(parse(cilium={"values": further}).load_balancers) == [
            "kube-system/traefik",
            "default/fcdemo-service",
        ]
        assert list(parse(cilium={"values": {"hubble": {"enabled": False}}}).load_balancers) == [
            "kube-system/traefik",
            "default/fcdemo-service",
        ]
        on = {"hubble": {"relay": {"service": {"type": "LoadBalancer"}}}}
        assert (
            "kube-system/hubble-relay"
            in parse(hubble={"serviceType": "ClusterIP"}, cilium={"values": on}).load_balancers
        )

    def test_public_key(self) -> None:
        assert parse().ssh_public_key == PUBLIC

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            parse().bgp.local_asn = 1


class TestLinodesLimits:
    """Linode refuses a firewall late that is too large."""

    def test_rules(self) -> None:
        forwards = [
            {"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8000 + number} for number in range(24)
        ]
        exposure = {"mode": "forward", "cidrs": ["0.0.0.0/0"], "forwards": forwards}
        linode = BASE | {"host": {"kind": "linode", "adminCidrs": ["203.0.113.7"]}}
        (message,) = problems(linode | {"exposure": exposure}, SECRETS)
        assert message.startswith("exposure.forwards: 24 ports; Linode takes 25 rules in a firewall, ")
        assert problems(linode | {"exposure": exposure | {"forwards": forwards[:23]}}, SECRETS) == []

    def test_addresses(self) -> None:
        many = [f"203.0.{number}.0/24" for number in range(256)]
        (message,) = problems(BASE | {"host": {"kind": "linode", "adminCidrs": many}}, SECRETS)
        assert message.startswith("host.adminCidrs: 256 networks; Linode takes 255 in a rule, ")


class TestSecrets:
    def test_no_secret_in_any_representation(self) -> None:
        secrets = SECRETS | {"bgpPassword": "password-of-bgp", "ngrokAuthtoken": "token-of-ngrok"}
        its = settings.parse(BASE | {"exposure": {"mode": "ngrok"}}, secrets)
        assert (its.ssh_private_key, its.bgp_password, its.ngrok_authtoken) == tuple(secrets.values())
        for text in (repr(its), str(its), its.model_dump_json()):
            assert not any(secret in text for secret in secrets.values())
            assert "PRIVATE KEY" not in text

    @pytest.mark.parametrize("broken", [PRIVATE[:-100], PRIVATE.replace("b", "c"), PRIVATE.replace("OPENSSH ", "")])
    def test_a_bad_key_is_not_in_its_message(self, broken: str) -> None:
        (message,) = problems(BASE, {"sshPrivateKey": broken})
        assert message.startswith("sshPrivateKey: ")
        assert not any(line in message for line in broken.split("\n") if line)

    def test_a_secret_in_plain_text_is_not_in_its_message(self) -> None:
        (message,) = problems(BASE | {"sshPrivateKey": PRIVATE}, {})
        assert "plain text" in message
        assert PRIVATE.split("\n")[1] not in message


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The configuration as Pulumi hands it over: everything is text, keys carry the project's name."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = {f"{pulumi.get_project()}:{root}": json.dumps(value) for root, value in BASE.items()}
    yield config
    set_all_config({}, [])


class TestLoad:
    KEY = f"{pulumi.get_project()}:sshPrivateKey"

    def messages(self, config: dict[str, str], secret: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
        set_all_config(config, secret)
        with pytest.raises(SystemExit) as end:
            settings.load()
        # What the language host knows as: the user has been told, add nothing.
        assert end.value.code == 32
        return capsys.readouterr().err.removesuffix("\n").split("\n")

    def test_all_roots_and_secrets(self, stack: dict[str, str]) -> None:
        set_all_config(
            stack | {self.KEY: PRIVATE, "linode:token": "t", f"{pulumi.get_project()}:protect": "true"}, [self.KEY]
        )
        its = settings.load()
        assert its.ssh_private_key == PRIVATE
        assert its.protect is True
        assert list(its.nodes) == ["k3s1", "k3s2"]

    def test_versions_that_have_ended_are_a_warning(
        self, stack: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        set_all_config(stack | {self.KEY: PRIVATE}, [self.KEY])
        settings.load()
        first, second = capsys.readouterr().err.splitlines()
        assert "cilium.version: 1.13.0 is Cilium 1.13, which has ended" in first
        assert "k3s.version: v1.25.6+k3s1 is Kubernetes 1.25, which has ended" in second

    def test_each_problem_is_shown_by_itself(self, stack: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        config = stack | {f"{pulumi.get_project()}:bgp": "control-plane"}
        first, second = self.messages(config, [], capsys)
        assert 'bgp: "control-plane" is not a map' in first
        assert "sshPrivateKey: missing" in second

    def test_an_agent_that_is_gone_is_a_problem_and_one_that_answers_is_none(
        self,
        stack: dict[str, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        path = tmp_path / "agent"
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        config = stack | {self.KEY: PRIVATE}
        (message,) = self.messages(config, [self.KEY], capsys)
        assert f"SSH_AUTH_SOCK: no agent answers at {path}" in message
        assert message.endswith("Run again after: unset SSH_AUTH_SOCK")
        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(str(path))
            alive.listen()
            assert settings.load().ssh_private_key == PRIVATE

    def test_a_secret_that_is_not_encrypted(self, stack: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        (message,) = self.messages(stack | {self.KEY: PRIVATE}, [], capsys)
        assert "sshPrivateKey: set in plain text" in message

    def test_what_holds_a_secret_and_keeps_none_is_refused(
        self, stack: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        project = pulumi.get_project()
        config = stack | {
            self.KEY: PRIVATE,
            f"{project}:k3s": json.dumps({"installerUrl": "https://mirror.example/hunter2", "apiPort": "hunter2"}),
            f"{project}:cilium": json.dumps({"values": {"extraEnv": "hunter2"}}),
        }
        first, second = self.messages(config, [self.KEY, f"{project}:k3s", f"{project}:cilium"], capsys)
        assert first.endswith("Take it for disclosed where it was used so, and set k3s without --secret.")
        assert second.endswith('[secret]" is not a whole number, so it cannot be used. Write digits only.')
        set_all_config(
            {key: text for key, text in config.items() if ":k3s" not in key}, [f"{project}:cilium", self.KEY]
        )
        assert settings.load().chart_values_secret

    def test_a_misspelt_namespace(self, stack: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        config = stack | {self.KEY: PRIVATE, f"{pulumi.get_project()[:-1]}:bgp": "{}"}
        (message,) = self.messages(config, [self.KEY], capsys)
        assert "Did you mean cilium-bgp:bgp?" in message


class TestShippedStacks:
    """What a user has to set is all that a shipped stack lacks."""

    @pytest.mark.parametrize(
        ("stack", "lacks"),
        [
            ("dev", ["host.adminCidrs", "sshPrivateKey"]),
            ("local", ["host.hostKey", "sshPrivateKey"]),
            ("modern", ["host.adminCidrs", "sshPrivateKey"]),
        ],
    )
    def test_lacks(self, stack: str, lacks: list[str]) -> None:
        config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
        found = problems({key.removeprefix("cilium-bgp:"): value for key, value in config.items()}, {})
        assert [problem.partition(":")[0] for problem in found] == lacks

    def test_dev_is_the_article(self) -> None:
        """Each default is the article's value, so dev says nothing else than they do."""
        config = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
        values = {key.removeprefix("cilium-bgp:"): value for key, value in config.items()}
        host = {"kind": "linode", "adminCidrs": ["203.0.113.7"]}
        dev = settings.parse(values | {"host": values["host"] | host}, SECRETS)
        assert dev == settings.parse({"host": host, "nodes": values["nodes"]}, SECRETS)
        assert list(dev.nodes) == ["k3s1", "k3s2", "k3s3"]

    def test_the_project_file_declares_every_root_that_is_no_secret(self) -> None:
        declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
        assert list(declared) == [key for key in keys(settings.Settings) if key not in checks.SECRETS]
        # The engine stops at a declared key without default, and at the first of a wrong type.
        assert all("default" in root and "type" not in root and root["description"] for root in declared.values())

    def test_every_key_is_documented(self) -> None:
        for path, model in sections():
            for name, field in model.model_fields.items():
                assert path == "" or field.description or "Settings" in str(field.annotation), f"{path}.{name}"

    def test_the_page_is_checked_for_being_current(self, tmp_path: Path) -> None:
        copied = tmp_path / "scripts" / "configuration_docs.py"
        copied.parent.mkdir()
        copied.write_text((ROOT / "scripts" / "configuration_docs.py").read_text())
        (tmp_path / "settings").symlink_to(ROOT / "settings")

        def check() -> subprocess.CompletedProcess[str]:
            return subprocess.run([sys.executable, copied, "--check"], capture_output=True, text=True, check=False)

        missing = check()
        assert missing.returncode == 1
        assert "run: python scripts/configuration_docs.py" in missing.stderr
        subprocess.run([sys.executable, copied], check=True)
        assert check().returncode == 0
        page = tmp_path / "docs" / "configuration.md"
        assert page.read_text() == (ROOT / "docs" / "configuration.md").read_text(), "run scripts/configuration_docs.py"
        page.write_text(page.read_text() + "more")
        assert check().returncode == 1


def test_who_reads_a_configuration_does_not_wait_for_pulumi_to_load() -> None:
    code = "import sys, settings; print(*({'pulumi', 'cryptography', 'grpc'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


# An example takes a millisecond; a busy machine, or measuring coverage, makes it many.
FEW = hypothesis(deadline=None, max_examples=30)
NETWORKS = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(24, 29),
)


@st.composite
def bridges(draw: st.DrawFn) -> tuple[IPv4Network, list[IPv4Network]]:
    """A network and what is taken in it and near it."""
    network = draw(NETWORKS)
    least, most = int(network.network_address) - 40, int(network.broadcast_address) + 40
    address, prefix = st.integers(least, most), st.integers(24, 32)
    taken = draw(st.lists(st.builds(lambda a, p: IPv4Network((a, p), strict=False), address, prefix), max_size=12))
    return network, taken


class TestDhcpRange:
    @FEW
    @given(bridges())
    def test_gives_nothing_that_is_taken_and_is_the_longest(
        self, bridge: tuple[IPv4Network, list[IPv4Network]]
    ) -> None:
        network, taken = bridge
        free = {
            address for address in map(int, network.hosts()) if not any(IPv4Address(address) in one for one in taken)
        }
        found = largest_free_range(network, taken)
        if found is None:
            assert not free
            return
        run = set(range(int(found.first), int(found.last) + 1))
        assert run
        assert run <= free
        assert {min(run) - 1, max(run) + 1}.isdisjoint(free)
        longest = max(
            len(piece) for piece in re.findall("x+", "".join("x" if a in free else " " for a in hosts(network)))
        )
        assert len(run) == longest

    @FEW
    @given(st.integers(1, 62), st.integers(26, 30), st.sets(st.integers(2, 254), min_size=1, max_size=6))
    def test_contains_neither_node_nor_pool_nor_gateway(self, block: int, prefix: int, last_bytes: set[int]) -> None:
        pool = IPv4Network(f"10.26.23.{block * 4}/{prefix}", strict=False)
        addresses = [IPv4Address(f"10.26.23.{last}") for last in sorted(last_bytes)]
        addresses = [address for address in addresses if address not in pool]
        assume(addresses and IPv4Address("10.26.23.1") not in pool and IPv4Address("10.26.23.255") not in pool)
        nodes = {f"n{i}": {"role": "agent", "address": str(address)} for i, address in enumerate(addresses)}
        nodes["n0"]["role"] = "server"
        its = parse(nodes=nodes, bgp={"pool": str(pool)})
        first, last = map(IPv4Address, its.dhcp_range.split("-"))
        assert IPv4Address("10.26.23.0") < first <= last < IPv4Address("10.26.23.255")
        assert last < pool[0] or pool[-1] < first
        for address in (its.lxd.bridge.gateway, *addresses):
            assert not first <= address <= last


def hosts(network: IPv4Network) -> range:
    return range(int(network.network_address) + 1, int(network.broadcast_address))


def places() -> list[tuple[str, ...]]:
    """Where a key can be, in a configuration with one of everything."""
    found = []
    for path, model in sections():
        parents = tuple(path.replace("NAME", "k3s1").replace("[N]", ".0").split(".")) if path else ()
        found += [(*parents, key) for key in keys(model)]
    return found


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
LIKELY = st.sampled_from(
    "0.0.0.0/0 10.0.0.0/8 10.26.23.0/24 10.26.23.1 10.26.23.1-10.26.23.254 ::/0 255.255.255.255/32 10.26.23.255/30 "
    "172.16.0.0/12 224.0.0.0/4 v1.99.0+k3s1 99.0.0 linode existing forward md5 a@b@ ssh-ed25519 0 1.13 control-plane "
    f"oci:// -----BEGIN {'x' * 300}".split(" ")
)


class TestAnyConfiguration:
    @FEW
    @given(st.lists(st.tuples(st.sampled_from(places()), ANYTHING | LIKELY), min_size=1, max_size=5))
    def test_gets_settings_or_messages_and_nothing_else(self, changes: list[tuple[tuple[str, ...], Any]]) -> None:
        forward = {"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8080}
        values: dict[str, Any] = copy.deepcopy(BASE) | {"exposure": {"forwards": [forward]}}
        for (*parents, key), value in changes:
            holder: Any = values
            for parent in parents:
                if isinstance(holder, list) and parent not in map(str, range(len(holder))):
                    break  # a change before has put another one there
                inner = holder[int(parent)] if isinstance(holder, list) else holder.setdefault(parent, {})
                if not isinstance(inner, dict | list):
                    break
                holder = inner
            if isinstance(holder, dict):
                holder[key] = value
        before = copy.deepcopy(values)
        for message in problems(values):
            assert re.match(r"[^\n]+: [^\n]+$", message)
        assert values == before

    def test_a_value_with_a_line_break_is_told_in_one_line(self) -> None:
        (message,) = problems(BASE | {"k3s": {"clusterCidr": "10.42.0.0/16\n"}})
        assert message.startswith("k3s.clusterCidr: 10.42.0.0/16\\n ")

    @FEW
    @given(st.integers(0, 255), st.integers(24, 32))
    def test_the_pool_that_a_message_proposes_is_accepted(self, start: int, prefix: int) -> None:
        pool = IPv4Network(f"10.26.23.{start}/{prefix}", strict=False)
        values = BASE | {"hubble": {"enabled": False}, "fcdemo": {"enabled": False}, "bgp": {"pool": str(pool)}}
        proposals = [
            found[1] for text in problems(values) if (found := re.match(r"bgp\.pool: .* e\.g\. (.*)\.$", text))
        ]
        assume(proposals)
        for proposal in proposals:
            assert problems(values | {"bgp": {"pool": proposal}}) == []

    @FEW
    @given(st.lists(st.integers(0, 600), min_size=1, max_size=6))
    def test_the_node_addresses_that_messages_propose_are_accepted(self, offsets: list[int]) -> None:
        address = IPv4Address("10.26.23.0")
        nodes = {f"n{i}": {"role": "agent", "address": str(address + offset)} for i, offset in enumerate(offsets)}
        nodes["n0"]["role"] = "server"
        for text in problems(BASE | {"nodes": nodes}):
            found = re.match(r"nodes\.(n\d)\.address: .* e\.g\. (.*)\.$", text)
            assert found
            nodes[found[1]]["address"] = found[2]
        assert problems(BASE | {"nodes": nodes}) == []
