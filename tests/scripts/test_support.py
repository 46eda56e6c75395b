"""support.sh: what is shown of a host and of a stack's nodes. The programs that are asked are fakes."""

from tests.scripts.machine import Machine


def test_shows_what_there_is_and_goes_on_where_something_is_missing(machine: Machine) -> None:
    machine.fake("vtysh", 'echo "$2"')
    machine.fake("journalctl", "echo 'bgpd: neighbor 10.26.23.12 password canary'")
    machine.fake("lxc", 'case $* in *readyz) [ "$4" = k3s2 ] ;; *) echo "lxc: $*" ;; esac')
    before = machine.contents()
    done = machine.run("support.sh", "cluster/k3s1", "cluster/k3s2", "cluster/k3s3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n$ vtysh -c show bgp ipv4 unicast summary\nshow bgp ipv4 unicast summary\n" in done.stdout
    assert "\n$ nft list ruleset\n" in done.stdout
    assert "(it ended with 127)" in done.stdout, "there is no nft here"
    assert "bgpd: neighbor 10.26.23.12 password …\n" in done.stdout
    assert "canary" not in done.stdout
    for node in ("k3s1", "k3s2", "k3s3"):
        journal = f"lxc exec --project cluster {node} -- journalctl --no-pager -n 200 -u k3s -u k3s-agent"
        assert f"\n$ {journal}\n" in done.stdout
    asked = [line for line in done.stdout.splitlines() if line.startswith("$ ") and "kubectl" in line]
    assert len(asked) == 2
    assert all("cluster k3s2 -- k3s kubectl get" in line for line in asked), "of the first server that answers"
    assert machine.contents() == before
