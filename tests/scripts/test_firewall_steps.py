"""What firewall.sh and firewall_remove.sh do to a host's files and services; nft, iptables and systemd are fakes.

With the real ones: test_firewall.py.
"""

from collections.abc import Callable

from tests.scripts.machine import Machine

COMMAND = ("firewall.sh", "lxdbr0", "10.26.23.1", "16443", "10.26.23.32/27", "", "10.26.23.11", "10.26.23.12")
RULES, PROGRAM = "/etc/cilium-bgp/firewall.nft", "/usr/local/lib/cilium-bgp/firewall"
UNIT = "/etc/systemd/system/cilium-bgp-firewall.service"
SAID = "Error: Could not process rule: Operation not supported"


def host(machine: Machine) -> Machine:
    machine.namespaces = "n"  # whatever the script may find, it is not this machine's firewall
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.fake("nft", f'case $1 in -f) cat {RULES} >"$STATE/rules" ;; table*) rm -f "$STATE/rules" ;; esac')
    machine.fake("iptables", "echo '-P FORWARD ACCEPT'")
    machine.fake("iptables-restore", 'cat >"$STATE/accepted"')
    started = f"PATH=$MACHINE/programs:$MACHINE/tools {PROGRAM}"
    stopped = f'[ "$2" = --quiet ] && {started} stop'
    machine.fake("systemctl", f"case $1 in reload-or-restart) {started} start ;; disable) {stopped} ;; esac")
    machine.fake("journalctl", 'echo "the journal: $*"')
    return machine


def test_in_force_now_and_at_every_boot_and_gone_again(machine: Machine) -> None:
    before = host(machine).contents()
    done = machine.run(*COMMAND)
    assert (done.returncode, done.stdout) == (0, "lxdbr0: BGP from 10.26.23.11, 10.26.23.12\n"), done.stderr
    assert machine.read("state/rules") == machine.read(RULES)
    assert "elements = { 10.26.23.11, 10.26.23.12 }" in machine.read(RULES)
    for rule in ("FORWARD -i lxdbr0", "INPUT -i lxdbr0 -d 10.26.23.1 -p tcp -m tcp --dport 16443"):
        assert f"-I {rule} -m comment --comment cilium-bgp -j ACCEPT\n" in machine.read("state/accepted")
    assert "systemctl enable --quiet cilium-bgp-firewall" in machine.ran
    assert f"ExecStart={PROGRAM} start\n" in machine.read(UNIT)
    assert machine.run("firewall_remove.sh").returncode == 0
    after = machine.contents()
    assert after.pop("state/accepted")
    assert after == before
    assert machine.run("firewall_remove.sh").returncode == 0


def test_a_run_killed_anywhere_is_made_good_by_the_next(new_machine: Callable[[], Machine]) -> None:
    whole = host(new_machine())
    whole.run(*COMMAND)
    wanted = whole.contents()
    for step in whole.changing_steps:
        machine = host(new_machine())
        assert machine.run(*COMMAND, dies_at=step).returncode != 0, f"survived step {step}"
        died_at = machine.ran[-1]
        assert machine.run(*COMMAND).returncode == 0, f"after death at {died_at}"
        assert machine.contents() == wanted, f"after death at {died_at}"


def test_says_what_the_kernel_said(machine: Machine) -> None:
    host(machine).fake("nft", f"echo '{SAID}' >&2; exit 1")
    done = machine.run(*COMMAND)
    assert done.returncode == 1
    assert done.stderr == (
        "the journal: -u cilium-bgp-firewall -n 20 --no-pager\n"
        f"the firewall's rules for lxdbr0 ({RULES}) were refused: {SAID}\n"
    )


def test_installs_what_is_missing(machine: Machine) -> None:
    host(machine)
    (machine.root / "programs/nft").rename(machine.root / "nft")
    machine.fake("apt-get", f'case "$*" in *nftables*) mv {machine.root}/nft {machine.root}/programs/nft ;; esac')
    assert machine.run(*COMMAND).returncode == 0
    assert "elements" in machine.read("state/rules")
