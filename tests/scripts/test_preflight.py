"""preflight.sh and host_release.sh: all that is wrong with a host is said at once, and nothing on it is touched.

Programs that look at the machine are fakes; /etc, /proc and /sys are what each test says. With the real sshd, nftables
and routes: test_preflight_real.py.
"""

import os
import socket
from collections.abc import Callable

import pytest

from tests.scripts.machine import Machine

NETWORKS = ["10.26.23.1/24", "10.26.23.32/27", "10.42.0.0/16", "10.43.0.0/16"]
WANTED = ["lxdbr0", *NETWORKS, "default", "default", "dir", "6443", "1", "", "k3s1", "k3s2", "k3s3"]
STACK = "cilium-bgp/dev"
MINE = "/var/lib/cilium-bgp/owner"
SOCKET = "/var/lib/lxd/unix.socket"
ROUTES = "default via 192.0.2.1 dev eth0\n192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.7\n"
ADDRESSES = "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 192.0.2.7/24 brd 192.0.2.255 scope global eth0\n"
PACKAGES_FRR = "# default to using syslog\n#\nlog syslog informational\n"


@pytest.fixture
def host(new_machine: Callable[[], Machine]) -> Machine:
    """A machine on which the stack will do."""
    machine = new_machine()
    machine.write("/proc/filesystems", "nodev\tbpf\nnodev\toverlay\n")
    machine.write("/proc/meminfo", "MemTotal:       16000000 kB\n")
    machine.write("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t7\t1\n")
    machine.write("/sys/class/net/eth0/mtu", "1500\n")
    (machine.root / "var/lib").mkdir()
    machine.write("state/routes", ROUTES)
    machine.write("state/addresses", ADDRESSES)
    machine.fake(
        "ip",
        'case "$*" in *route*default) grep default "$STATE/routes" ;; *route*) cat "$STATE/routes" ;; '
        '*address*) cat "$STATE/addresses" ;; *link*show*) [ -e "$STATE/link" ] ;; esac',
    )
    machine.fake("modprobe")
    machine.fake("apt-get")
    machine.fake("ss")
    machine.fake("unshare")
    machine.fake("df", "echo head; echo '/dev/vda1 90000000 1000 89000000 2% /var'")
    machine.fake("find", 'exec find "$@"')
    return machine


def look(
    machine: Machine, owner: str = "", stack: str = STACK, user: str = "root", wanted: list[str] = WANTED
) -> list[str]:
    """The problems that are said; the host is as it was."""
    before = machine.files()
    done = machine.run("preflight.sh", owner, stack, user, *wanted)
    assert machine.files() == before
    if done.returncode == 0:
        assert done.stdout == "ready\n"
        return []
    first, *problems = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert first == "this host is not ready, and was not touched:"
    return problems


def test_a_host_that_will_do(host: Machine) -> None:
    assert look(host) == []


def only(problems: list[str]) -> str:
    (problem,) = problems
    return problem


def test_a_host_is_the_stacks_until_it_is_released(host: Machine) -> None:
    before = host.contents()
    assert host.run("preflight.sh", "a1", STACK, "root", *WANTED).stdout == "ready\n"
    assert host.read(MINE) == "a1 cilium-bgp/dev\n"
    assert look(host, "a1") == look(host, "a1", "cilium-bgp/renamed") == look(host) == []
    for owner, stack in (("b2", STACK), ("b2", "cilium-bgp/other"), ("", "cilium-bgp/other")):
        assert only(look(host, owner, stack)) == (
            "the stack cilium-bgp/dev is on this host already; there is one router, and each destroy would end the "
            "other's. Destroy that stack, or take another host. If its state is lost for good, take over what it left: "
            f"rm {MINE}"
        )
    assert host.run("host_release.sh").returncode == host.run("host_release.sh").returncode == 0
    assert host.contents() == before


def test_an_upstream_is_next_to_the_host_or_is_said_to_be_farther(host: Machine) -> None:
    ways = "192.168.1.1 dev eth0 src 192.168.1.7", "10.9.9.9 via 192.168.1.1 dev eth0", "RTNETLINK answers: unreachable"
    for number, way in enumerate(ways):
        host.write(f"state/way-198.51.100.{number}", f"{way}\n")
    host.fake(
        "ip", 'case "$*" in *"route get"*) cat "$STATE/way-$4" ;; *route*) cat "$STATE/routes" ;; *) exit 1 ;; esac'
    )
    near = [f"lan{number}=198.51.100.{number}" for number in range(3)]
    place = WANTED.index("k3s1") - 1
    assert look(host, wanted=[*WANTED[:place], near[0], *WANTED[place + 1 :]]) == []
    assert look(host, wanted=[*WANTED[:place], ",".join(near), *WANTED[place + 1 :]]) == [
        "bgp.upstreams.lan1.address: 198.51.100.1 is beyond 192.168.1.1, and a session with one hop alone would not "
        "reach it. Set bgp.upstreams.lan1.multihop: 2, or write the address of a router next to the host",
        "bgp.upstreams.lan2.address: the host has no route to 198.51.100.2; there would be no session. Write the "
        "address that the host reaches it by",
    ]


def test_what_an_earlier_version_brought_up_is_taken_up(host: Machine) -> None:
    host.write("/var/lib/cilium-bgp/frr/was", "absent\n")
    host.write("/etc/frr/frr.conf", "router bgp 64512\n")
    host.fake("ss", "echo 'LISTEN 0 128 0.0.0.0:6443 0.0.0.0:* users:((\"lxd\"))'")
    assert host.run("preflight.sh", "a1", STACK, "root", *WANTED).stdout == "ready\n"
    assert host.read(MINE) == "a1 cilium-bgp/dev\n"


def test_everything_is_said_at_once(host: Machine) -> None:
    host.write("/proc/meminfo", "MemTotal:       2000000 kB\n")
    host.write("/proc/filesystems", "nodev\tsysfs\n")
    host.write("/proc/cgroups", "memory\t0\t1\t0\n")
    host.fake("modprobe", "exit 1")
    host.fake("unshare", "exit 1")
    host.fake("uname", "case $1 in -m) echo armv7l ;; *) echo 6.1.0 ;; esac")
    assert [problem.partition(";")[0] for problem in look(host, user="ubuntu")] == [
        "the host's processor is armv7l",
        "the host has 1953 MiB of memory",
        "the kernel has no bpf file system",
        "the kernel has no vxlan",
        "the kernel has no overlay file system",
        "the kernel's memory controller is off",
        "host.user ubuntu is not in LXD's group",
    ]


def test_a_host_without_apt_is_refused(host: Machine) -> None:
    (host.root / "programs/apt-get").unlink()
    assert only(look(host)).startswith("the host has no apt-get, which LXD, FRR and nftables are installed with.")


def test_too_little_memory_or_disk_is_refused_until_the_stack_runs_there(host: Machine) -> None:
    host.write("/proc/meminfo", "MemTotal:       3000000 kB\n")
    host.fake("df", "echo head; echo '/dev/vda1 90000000 1000 9000000 2% /var'")
    assert look(host) == [
        "the host has 2929 MiB of memory; servers: 1, agents: 2 need 3072 MiB before anything of yours runs, and the "
        "kernel would end their processes. Take fewer nodes or a larger host",
        "/var/lib has 8789 MiB free; 3 nodes with their images need 12288 MiB. Take fewer nodes or a larger disk",
    ]
    assert look(host, wanted=WANTED[:-1]) == []
    host.write(MINE, f"a1 {STACK}\n")
    done = host.run("preflight.sh", "a1", STACK, "root", *WANTED)
    assert done.stdout == "ready\n", "what runs already is not refused"
    assert done.stderr.startswith("note: the host has 2929 MiB of memory; servers: 1, agents: 2 need 3072 MiB")


def test_a_pool_that_lxd_would_make_too_small_is_refused(host: Machine) -> None:
    zfs = [{"dir": "zfs"}.get(word, word) for word in WANTED]
    assert look(host, wanted=zfs) == []
    host.fake("df", "echo head; echo '/dev/vda1 90000000 1000 52000000 2% /var'")
    assert look(host, wanted=zfs) == [
        "lxd.storagePool.driver: of the 50781 MiB that are free at /var/lib, LXD gives a new zfs pool 10156; 3 nodes "
        "with their images need 12288 MiB. Write driver: dir, or make a larger pool first: "
        "lxc storage create default zfs size=12GiB"
    ]
    assert look(host) == []
    assert look(host, wanted=zfs[:-1]) == []
    lxd(host, {"storage-pools/default": '{"driver":"zfs","name":"default"}'})
    assert look(host, wanted=zfs) == [], "one that is there has the size that it has"


def test_an_lxd_in_a_cluster_is_refused(host: Machine) -> None:
    lxd(host, {"cluster": '{"enabled":false,"server_name":""}'})
    assert look(host) == []
    lxd(host, {"cluster": '{"enabled":true,"server_name":"a"}'})
    assert only(look(host)).startswith("LXD on this host is a member of a cluster,")


def test_a_user_of_lxds_group_will_do(host: Machine) -> None:
    host.write("/etc/group", "root:x:0:\nubuntu:x:1000:\nlxd:x:999:ubuntu\n")
    assert look(host, user="ubuntu") == []


def test_cgroups_of_the_second_kind_need_their_memory_controller(host: Machine) -> None:
    host.write("/proc/cgroups", "")
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    assert look(host) == []
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    assert only(look(host)).startswith(
        "the kernel's memory controller is off; k3s would not start. Add 'cgroup_enable=memory"
    )


@pytest.mark.parametrize(
    ("route", "keys"),
    [
        ("10.26.0.0/16 via 192.0.2.3 dev wg0", ["lxd.bridge.address", "bgp.pool"]),
        ("10.26.23.40 dev wg0", ["lxd.bridge.address", "bgp.pool"]),
        ("10.26.23.0/27 dev eth1 proto kernel", ["lxd.bridge.address"]),
        ("10.42.7.0/24 dev docker0", ["k3s.clusterCidr"]),
        ("blackhole 10.43.0.0/17", ["k3s.serviceCidr"]),
        ("10.0.0.0/8 dev tun0", ["lxd.bridge.address", "bgp.pool", "k3s.clusterCidr", "k3s.serviceCidr"]),
        ("0.0.0.0/1 dev tun0", []),
        ("10.26.23.0/24 dev lxdbr0 proto kernel", []),
        ("10.42.1.0/24 nhid 7 via 10.26.23.12 dev lxdbr0 proto bgp", []),
        ("10.44.0.0/16 dev docker0", []),
        ("172.17.0.0/16 dev docker0", []),
    ],
)
def test_networks_that_the_host_has_already_are_refused_with_their_keys(
    host: Machine, route: str, keys: list[str]
) -> None:
    host.write("state/routes", ROUTES + route + "\n")
    found = look(host)
    assert [problem.partition(":")[0] for problem in found] == keys
    assert all("Choose another network" in problem for problem in found)


def test_an_address_of_the_hosts_own_needs_no_route(host: Machine) -> None:
    host.write("state/addresses", ADDRESSES + "1: lo    inet 10.26.23.50/32 scope global lo\n")
    assert [problem.partition(":")[0] for problem in look(host)] == ["lxd.bridge.address", "bgp.pool"]


@pytest.mark.parametrize(
    "lines", ["ip route 198.51.100.0/24 192.0.2.9\n", "router ospf\n", "interface eth0\n", "password zebra\n"]
)
def test_an_frr_in_use_is_refused_and_its_password_not_told(host: Machine, lines: str) -> None:
    host.write("/etc/frr/frr.conf", PACKAGES_FRR)
    host.write("/etc/frr/vtysh.conf", "service integrated-vtysh-config\nusername cumulus nopassword\n")
    assert look(host) == []
    host.write("/etc/frr/frr.conf", PACKAGES_FRR + lines)
    problem = only(look(host))
    assert problem.startswith("FRR on this host is in use (/etc/frr/frr.conf:")
    assert "zebra" not in problem


def test_ports_that_are_taken_are_told_with_who_has_them(host: Machine) -> None:
    host.fake(
        "ss",
        """case "$*" in
        *:179*) echo 'LISTEN 0 9 0.0.0.0:179 0.0.0.0:* users:(("bird",pid=7))' ;;
        *:6443*)
            echo 'LISTEN 0 9 127.0.0.1:6443 0.0.0.0:*'
            echo 'LISTEN 0 9 [::]:6443 [::]:* users:(("k3s",pid=8))'
            ;;
        esac""",
    )
    assert look(host) == [
        'TCP port 179 of the host is taken: 0.0.0.0:179 users:(("bird",pid=7)). End that program',
        'TCP port 6443 of the host is taken: [::]:6443 users:(("k3s",pid=8)). End that program, or set k3s.apiPort',
    ]


@pytest.mark.parametrize(
    ("listens", "taken"),
    [
        ('udp   UNCONN 0 0        0.0.0.0:53   0.0.0.0:* users:(("unbound",pid=7,fd=3))', True),
        ('tcp   LISTEN 0 4096           *:53         *:* users:(("unbound",pid=7,fd=3))', True),
        ('udp   UNCONN 0 0  127.0.0.53%lo:53  0.0.0.0:* users:(("systemd-resolve",pid=7))', False),
        ('tcp   LISTEN 0 32    10.99.0.1:53   0.0.0.0:* users:(("dnsmasq",pid=7))', False),
    ],
)
def test_a_dns_server_on_all_addresses_is_refused(host: Machine, listens: str, taken: bool) -> None:
    host.fake("ss", f"case \"$*\" in *:53*) echo '{listens}' ;; esac")
    said = only(look(host)) if taken else ""
    assert said.startswith("port 53 of all of the host's addresses is taken: ") is taken
    assert ("unbound" in said) is taken


def lxd(machine: Machine, answers: dict[str, str]) -> None:
    """LXD is there, and answers so by path."""
    folder = machine.root / SOCKET.lstrip("/")
    folder.parent.mkdir(parents=True, exist_ok=True)
    inside = os.open(folder.parent, os.O_RDONLY)
    folder.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{inside}/{folder.name}")  # a socket's own path may not be as long as pytest's are
    os.close(inside)
    cases = " ".join(f"*/1.0/{path}) echo '{answer}' ;;" for path, answer in answers.items())
    machine.fake("curl", f'case "$*" in {cases} *) exit 22 ;; esac')
    machine.fake("lxc", "exit 1")


def network(config: str, managed: str = "true") -> str:
    return f'{{"config":{{{config}}},"description":"","managed":{managed},"name":"lxdbr0","type":"bridge"}}'


THEIRS = '"ipv4.address":"10.99.0.1/24","ipv4.nat":"true"'
OURS = '"ipv4.address":"10.26.23.1/24","user.pulumi.owner":"cilium-bgp/dev/topology-bridge"'
OTHERS = '"ipv4.address":"10.26.23.1/24","user.pulumi.owner":"cilium-bgp/other/topology-bridge"'


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        (
            "networks/lxdbr0",
            network(THEIRS),
            "lxd.bridge.name: LXD has a network lxdbr0 already, with 10.99.0.1/24 instead of 10.26.23.1/24; what is on "
            "it would lose its network. Choose another name",
        ),
        (
            "networks/lxdbr0",
            network("", "false"),
            "lxd.bridge.name: the host has an interface lxdbr0 already, which is not LXD's. Choose another name",
        ),
        (
            "networks/lxdbr0",
            network(OTHERS),
            "the stack cilium-bgp/other is on this host already; there is one router, and each destroy would end the "
            "other's. Destroy that stack, or take another host. If its state is lost for good, take over what it left: "
            "lxc network unset lxdbr0 user.pulumi.owner",
        ),
        ("networks/lxdbr0", network('"ipv4.address":"10.26.23.1/24"'), ""),
        ("networks/lxdbr0", network(OURS), ""),
        (
            "storage-pools/default",
            '{"config":{"source":"/x"},"driver":"zfs","name":"default"}',
            "lxd.storagePool.driver: the pool default is there already, by driver zfs, not dir. Write driver: zfs, or "
            "another name",
        ),
        ("storage-pools/default", '{"config":{"source":"/x"},"driver":"dir","name":"default"}', ""),
        (
            "profiles/k8s?project=default",
            '{"config":{},"name":"k8s"}',
            "lxd.project: the project default has a profile k8s already, which is not the nodes'. Choose a project of "
            "its own, like cilium-bgp",
        ),
        ("profiles/k8s?project=default", '{"config":{"user.pulumi.owner":"cilium-bgp/dev/topology-profile-k8s"}}', ""),
        (
            "profiles/default?project=default",
            '{"config":{},"name":"default","used_by":["/1.0/instances/theirs","/1.0/instances/others"]}',
            "",
        ),
        (
            "instances/k3s2?project=default",
            '{"config":{},"name":"k3s2"}',
            "nodes.k3s2: LXD's project default has an instance of that name already. Choose another name, or a project "
            "of its own (lxd.project)",
        ),
        ("instances/k3s2?project=default", '{"config":{"user.pulumi.owner":"cilium-bgp/dev/k3s2"}}', ""),
    ],
)
def test_what_an_lxd_has_under_our_names_is_refused(host: Machine, path: str, answer: str, said: str) -> None:
    lxd(host, {path: answer})
    assert look(host) == ([said] if said else [])


def test_an_lxd_is_looked_at_without_curl_too(host: Machine) -> None:
    lxd(host, {})
    host.fake("curl", "exit 127")
    host.fake("lxc", f"[ \"$3\" != /1.0/networks/lxdbr0 ] || echo '{network(THEIRS)}'")
    assert only(look(host)).startswith("lxd.bridge.name: LXD has a network lxdbr0 already")


def test_an_interface_of_the_bridges_name_is_refused_without_lxd_too(host: Machine) -> None:
    host.write("state/link")
    assert only(look(host)) == "lxd.bridge.name: the host has an interface lxdbr0 already. Choose another name"


def test_a_file_system_that_takes_no_overlay_is_refused_and_left_as_it_was(host: Machine) -> None:
    host.fake("unshare", '[ "$1" = -n ]')
    assert only(look(host)).startswith("the file system of /var/lib (")
    assert not list((host.root / "var/lib").iterdir())


@pytest.mark.parametrize(("version", "fine"), [("2.1.11-1", False), ("2.2.2-1", True), ("0.8.3", False)])
def test_zfs_takes_an_overlay_from_2_2_on(host: Machine, version: str, fine: bool) -> None:
    host.write("/sys/module/zfs/version", f"{version}\n")
    wanted = [{"dir": "zfs"}.get(word, word) for word in WANTED]
    assert [problem.partition(";")[0] for problem in look(host, wanted=wanted)] == (
        [] if fine else ["lxd.storagePool.driver: ZFS before 2.2 takes no overlay above it"]
    )


def test_what_the_stack_itself_takes_care_of_is_a_note(host: Machine) -> None:
    host.write("/sys/class/net/eth0/mtu", "1400\n")
    ufw, docker = "-A INPUT -j ufw-before-input", "-A FORWARD -j DOCKER-USER"
    host.fake("iptables", f"printf '%s\\n' '-P FORWARD DROP' '{ufw}' '{docker}'")
    done = host.run("preflight.sh", "", STACK, "root", *WANTED)
    assert (done.returncode, done.stdout) == (0, "ready\n")
    assert done.stderr == (
        "note: eth0, the way to the internet, has an MTU of 1400, less than the nodes': rules of the stack's tell it "
        "to both ends of their connections\n"
        "note: UFW drops what nobody has allowed: rules for lxdbr0 come with the stack, and go with it\n"
        "note: Docker drops what nobody has allowed: rules for lxdbr0 come with the stack, and go with it\n"
    )
    host.fake("iptables", f"printf '%s\\n' '-P FORWARD ACCEPT' '{docker}'")
    assert "drops" not in host.run("preflight.sh", "", STACK, "root", *WANTED).stderr
    host.fake("iptables", "echo '-P FORWARD DROP'")
    assert "note: iptables drops" in host.run("preflight.sh", "", STACK, "root", *WANTED).stderr


def test_a_firewalld_that_does_not_trust_the_bridge_is_refused(host: Machine) -> None:
    host.fake("systemctl", '[ "$3" = firewalld ]')
    host.fake("firewall-cmd", "exit 1")
    assert only(look(host)) == (
        "firewalld drops what the nodes need. Trust their bridge: firewall-cmd --permanent --zone=trusted "
        "--add-interface=lxdbr0 && firewall-cmd --reload"
    )
    host.fake("firewall-cmd")
    assert look(host) == []
