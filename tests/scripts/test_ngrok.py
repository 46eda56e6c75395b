"""ngrok.sh and ngrok_remove.sh. systemd, ngrok and the download are fakes."""

from collections.abc import Callable

import pytest
import yaml

from tests.scripts.machine import Machine

TOKEN = "2abcSecretToken_xyz"
COMMAND = ("ngrok.sh", "10.26.23.35")
CONFIG, AGENT = "/etc/ngrok/cilium-bgp.yml", "/usr/local/lib/cilium-bgp/ngrok"
SOURCE = "https://ngrok-agent.s3.amazonaws.com"
CURL = f"""
for last; do :; done
case $last in
http://127.0.0.1:14040/api/tunnels/service) cat "$STATE/tunnel" ;;
{SOURCE}/ngrok.asc) while [ "$1" != -o ]; do shift; done; echo 'their key' >"$2" ;;
esac
"""
# It believes the repository by the key beside its list alone.
APT = f"""
sources=$(echo "$*" | sed 's/.*SourceList=\\([^ ]*\\).*/\\1/')
grep -q "signed-by=${{sources%/*}}/ngrok.asc] {SOURCE} " "$sources" || exit 100
[ "$(cat "${{sources%/*}}/ngrok.asc")" = 'their key' ] || exit 100
case "$*" in *download*) echo 'an ngrok' >ngrok_3.1_amd64.deb ;; esac
"""
DPKG = 'mkdir -p "$3/usr/local/bin"; cp "$2" "$3/usr/local/bin/ngrok"'


def host(machine: Machine) -> Machine:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.fake("curl", CURL)
    machine.fake("apt-get", APT)
    machine.fake("dpkg-deb", DPKG)
    machine.fake("systemctl", f'[ "$1" != restart ] || cat {CONFIG} >"$STATE/running"')
    tunnel = (
        '{"name":"service","uri":"/api/tunnels/service","public_url":"https://fc.ngrok-free.app","proto":"https"}\n'
    )
    machine.write("state/tunnel", tunnel)
    return machine


def test_runs_ngrok_and_prints_its_url(machine: Machine) -> None:
    done = host(machine).run(*COMMAND, stdin=TOKEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "https://fc.ngrok-free.app\n", "")
    assert f"authtoken: '{TOKEN}'\n" in machine.read("state/running")
    assert "    addr: 10.26.23.35:80\n" in machine.read(CONFIG)
    assert machine.mode(CONFIG) == "0o600"
    assert TOKEN not in "\n".join(machine.ran)
    assert machine.read(AGENT) == "an ngrok\n"
    assert machine.mode(AGENT) == "0o755"
    assert any(line.startswith("curl ") and "--proto =https " in line and SOURCE in line for line in machine.ran)
    assert not list((machine.root / "etc/apt").glob("*")), "apt knows its repository for this once"


def test_a_second_run_keeps_the_url_and_another_token_restarts(machine: Machine) -> None:
    host(machine).run(*COMMAND, stdin=TOKEN)
    before = machine.files()
    assert machine.run(*COMMAND, stdin=TOKEN).returncode == 0
    assert machine.files() == before
    assert "systemctl restart cilium-bgp-ngrok" not in machine.ran
    machine.run(*COMMAND, stdin="other")
    assert "authtoken: 'other'\n" in machine.read("state/running")


@pytest.mark.parametrize("token", ["12e5", "0x1f", "yes", "a'b: #c"])
def test_a_token_stays_a_text(machine: Machine, token: str) -> None:
    host(machine).run(*COMMAND, stdin=token)
    assert yaml.safe_load(machine.read(CONFIG))["authtoken"] == token
    assert f"authtoken: {token}\n" not in machine.read(CONFIG)


@pytest.mark.chaos
def test_a_run_killed_anywhere_is_made_good_by_the_next(new_machine: Callable[[], Machine]) -> None:
    whole = host(new_machine())
    whole.run(*COMMAND, stdin=TOKEN)
    wanted = whole.contents()
    for step in whole.changing_steps:
        machine = host(new_machine())
        assert machine.run(*COMMAND, stdin=TOKEN, dies_at=step).returncode != 0, f"survived step {step}"
        died_at = machine.ran[-1]
        assert machine.run(*COMMAND, stdin=TOKEN).returncode == 0, f"after death at {died_at}"
        assert machine.contents() == wanted, f"after death at {died_at}"


def test_removal_leaves_nothing_of_ours_and_all_of_theirs(machine: Machine) -> None:
    host(machine).write("/usr/local/bin/ngrok", "their own ngrok")
    before = machine.contents()
    machine.run(*COMMAND, stdin=TOKEN)
    (machine.root / "state/running").unlink()
    done = machine.run("ngrok_remove.sh")
    assert done.returncode == 0, done.stderr
    assert "systemctl disable --quiet --now cilium-bgp-ngrok" in machine.ran
    assert machine.contents() == before
    assert machine.run("ngrok_remove.sh").returncode == 0


def test_a_refused_token_is_told_without_the_token(machine: Machine) -> None:
    host(machine).write("state/tunnel", "{}")
    machine.hurry()
    machine.fake("journalctl", f"echo 'ERR_NGROK_105 bad. Your authtoken: {TOKEN} is bad: {TOKEN}'")
    done = machine.run(*COMMAND, stdin=TOKEN)
    assert done.returncode == 1
    assert TOKEN not in done.stderr
    assert done.stderr.endswith(
        "a public URL from ngrok's local API (127.0.0.1:14040): not within 60 s; last seen: nothing\n"
        "ERR_NGROK_105 bad. Your authtoken: … is bad: …\n"
    )


def test_says_what_could_not_be_downloaded(machine: Machine) -> None:
    host(machine).fake("curl", "echo 'curl: (6) no such host' >&2; exit 6")
    done = machine.run(*COMMAND, stdin=TOKEN)
    assert done.returncode == 1
    assert done.stderr == f"curl: (6) no such host\nno key of ngrok's package repository ({SOURCE}/ngrok.asc)\n"


def test_what_its_publisher_has_not_signed_is_not_run(machine: Machine) -> None:
    host(machine).fake("apt-get", "echo 'E: The repository is not signed.' >&2; exit 100")
    done = machine.run(*COMMAND, stdin=TOKEN)
    assert done.returncode == 1
    assert done.stderr == (
        "E: The repository is not signed.\n"
        f"no ngrok agent from its package repository ({SOURCE}); apt's lines are above\n"
    )
    assert not machine.exists(AGENT)
    assert not machine.exists("state/running")


@pytest.mark.parametrize("file", ["ngrok.sh"])
def test_refuses_a_host_without_systemd(machine: Machine, file: str) -> None:
    done = machine.run(file, *COMMAND[1:], stdin=TOKEN)
    assert done.returncode == 1
    assert "this host has no systemd" in done.stderr
    assert not machine.exists(CONFIG)
