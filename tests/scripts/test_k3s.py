"""k3s_install.sh, k3s_token.sh, k3s_kubeconfig.sh. The installer, k3s and systemd are fakes; curl and HTTP are real but
where etcd is asked."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.machine import Machine

VERSION = "v1.25.6+k3s1"
CONFIG = '{"node-name": "k3s2", "token": "K10secret::server:abc"}\n'
PASSWORD = "0123456789abcdef0123456789abcdef"
STDIN = f"{PASSWORD}\n{CONFIG}"
TOKEN = "K10secret"
PATH = "/etc/rancher/k3s/config.yaml"
INSTALLER = """# Pretends to be get.k3s.io: writes a k3s that pretends, and its unit; notes what it was told.
env | grep INSTALL_K3S_ | sort >"$STATE/environment"
echo "k3s=$INSTALL_K3S_VERSION" >>"$STATE/installed"
cat >/usr/local/bin/k3s.part <<K3S
#!/bin/sh
case \\$1 in
--version) echo "k3s version $INSTALL_K3S_VERSION (a fake)" ;;
kubectl) [ ! -e "\\$STATE/unready" ] || { echo '[-]etcd failed'; exit 1; } ;;
server)
    db=/var/lib/rancher/k3s/server/db
    [ ! -e \\$db/reset-flag ] || { echo 'cluster membership was already reset'; exit 1; }
    mkdir -p \\$db/etcd
    : >\\$db/reset-flag
    [ ! -e "\\$STATE/unopened" ] || { echo 'encrypted with different token'; exit 1; }
    case "\\$3 \\$4" in
    *=*/*' ' | *=*/*' --etcd-s3=false') cat "\\${3#*=}" ;;
    *=*/*) exit 1 ;;
    *) echo "\\${3#*=} of the bucket" ;;
    esac >\\$db/etcd/data
    ;;
esac
K3S
chmod 755 /usr/local/bin/k3s.part
mv /usr/local/bin/k3s.part /usr/local/bin/k3s
mkdir -p /etc/rancher/k3s
echo "the kubeconfig" >/etc/rancher/k3s/k3s.yaml
mkdir -p /etc/systemd/system
[ "$INSTALL_K3S_EXEC" = server ] && unit=k3s || unit=k3s-agent
echo "ExecStart=/usr/local/bin/k3s $INSTALL_K3S_EXEC" >/etc/systemd/system/$unit.service
"""
# `running` holds what the unit was last started with.
SYSTEMCTL = f"""
run() {{ {{ k3s --version; cat {PATH}; }} >"$STATE/running"; }}
case $1 in
restart) run ;;
start) [ -e "$STATE/running" ] || run ;;
is-active) [ ! -e "$STATE/stuck" ] || {{ echo activating; exit 3; }}; echo active ;;
esac
"""


class Server(http.server.ThreadingHTTPServer):
    files: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/install.sh"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        text = self.server.files.get(self.path)
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture(autouse=True)
def _installer(server: Server) -> None:
    server.files = {"/install.sh": INSTALLER}


METRICS = "etcd_server_has_leader 1\netcd_server_is_learner 0\n"


def node(machine: Machine) -> Machine:
    curl = shutil.which("curl")
    machine.fake("curl", f'case "$*" in *:2381/*) cat "$STATE/etcd" ;; *) exec {curl} "$@" ;; esac')
    machine.write("state/etcd", METRICS)
    machine.fake("systemctl", SYSTEMCTL)
    machine.fake("journalctl", 'echo "the journal: $*"')
    return machine


def restarts(machine: Machine) -> list[str]:
    return [line for line in machine.ran if line.startswith("systemctl restart")]


def test_installs_an_agent(machine: Machine, server: Server) -> None:
    done = node(machine).run(
        "k3s_install.sh", "agent", VERSION, server.url, "http://mirror.test/k3s", "5", "ubuntu", stdin=STDIN
    )
    assert (done.returncode, done.stdout) == (0, f"k3s version {VERSION} (a fake)\n"), done.stderr
    assert machine.read("state/environment").splitlines() == [
        "INSTALL_K3S_ARTIFACT_URL=http://mirror.test/k3s",
        "INSTALL_K3S_EXEC=agent",
        "INSTALL_K3S_SKIP_START=true",
        f"INSTALL_K3S_VERSION={VERSION}",
    ]
    assert machine.read(PATH) == CONFIG
    assert machine.mode(PATH) == "0o600"
    assert machine.mode("/etc/systemd/system/k3s-agent.service") == "0o644", "systemd warns of units none can read"
    assert "systemctl enable --quiet k3s-agent" in machine.ran
    assert TOKEN in machine.read("state/running")
    assert TOKEN not in "\n".join(machine.ran) + done.stdout + done.stderr
    assert not list((machine.root / "tmp").iterdir())


def test_a_second_run_changes_and_restarts_nothing(machine: Machine, server: Server) -> None:
    command = ("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu")
    node(machine).run(*command, stdin=STDIN)
    before = machine.files()
    done = machine.run(*command, stdin=STDIN)
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.files() == before
    assert not restarts(machine)


SNAPSHOT = "on-demand-k3s1-1796000000"
FOLDER = "/var/lib/cilium-bgp/snapshots"
WITH_SNAPSHOTS = f'{PASSWORD}\n{{\n "token": "abc",\n "etcd-snapshot-dir": "{FOLDER}"\n}}\n'
DATA = "/var/lib/rancher/k3s/server/db/etcd/data"


IN_A_BUCKET = WITH_SNAPSHOTS.replace("\n}", ',\n "etcd-s3": true\n}')


def restored(
    machine: Machine, server: Server, authority: str = "", stdin: str = WITH_SNAPSHOTS
) -> subprocess.CompletedProcess[str]:
    command = ("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu", "https://10.26.23.1:6443")
    return machine.run(*command, authority, SNAPSHOT, stdin=stdin)


def test_a_cluster_begins_with_a_snapshot(machine: Machine, server: Server) -> None:
    node(machine).write(f"{FOLDER}/{SNAPSHOT}", "what was")
    assert restored(machine, server).returncode == 0
    assert machine.read(DATA) == "what was"
    machine.write(DATA, "what is")
    assert restored(machine, server).returncode == 0
    assert machine.read(DATA) == "what is", "where a cluster is nothing comes of it"


def test_a_cluster_begins_with_a_snapshot_of_a_bucket(machine: Machine, server: Server) -> None:
    node(machine)
    assert restored(machine, server, stdin=IN_A_BUCKET).returncode == 0
    assert machine.read(DATA) == f"{SNAPSHOT} of the bucket\n"


def test_one_that_is_in_the_folder_is_not_looked_for_in_the_bucket(machine: Machine, server: Server) -> None:
    node(machine).write(f"{FOLDER}/{SNAPSHOT}", "what was")
    assert restored(machine, server, stdin=IN_A_BUCKET).returncode == 0
    assert machine.read(DATA) == "what was"


def test_a_server_that_joins_restores_nothing(machine: Machine, server: Server) -> None:
    node(machine).write(f"{FOLDER}/{SNAPSHOT}", "what was")
    assert restored(machine, server, authority="ab" * 32).returncode == 0
    assert not (machine.root / DATA.lstrip("/")).exists()


def test_a_restore_that_was_cut_off_is_begun_anew(machine: Machine, server: Server) -> None:
    node(machine).write(f"{FOLDER}/{SNAPSHOT}", "what was")
    machine.write("state/unopened", "")
    done = restored(machine, server)
    assert done.returncode == 1
    assert f"k3s could not restore {SNAPSHOT} (k3s.snapshots.restore)" in done.stderr
    assert not (machine.root / "state/running").exists()
    (machine.root / "state/unopened").unlink()
    assert restored(machine, server).returncode == 0
    assert machine.read(DATA) == "what was"


def test_a_snapshot_that_is_not_there_is_told_with_those_that_are(machine: Machine, server: Server) -> None:
    node(machine).write(f"{FOLDER}/etcd-snapshot-k3s1-1", "another")
    done = restored(machine, server)
    assert done.returncode == 1
    assert f"there is no snapshot {SNAPSHOT} in k3s.snapshots.folder; there are: etcd-snapshot-k3s1-1." in done.stderr


def test_another_configuration_restarts_and_installs_nothing(machine: Machine, server: Server) -> None:
    command = ("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu")
    node(machine).run(*command, stdin=STDIN)
    assert machine.run(*command, stdin=STDIN.replace("k3s2", "other")).returncode == 0
    assert restarts(machine) == ["systemctl restart --no-block k3s"]
    assert '"other"' in machine.read("state/running")
    assert machine.read("state/installed").count("\n") == 1


def test_an_agent_that_joins_another_cluster_ends_the_pods_of_the_former_first(
    machine: Machine, server: Server
) -> None:
    command = ("k3s_install.sh", "agent", VERSION, server.url, "", "5", "ubuntu")
    node(machine).fake("k3s-killall.sh", f'cat {PATH} >"$STATE/ended"')
    machine.write("state/ended", "")
    for joining in (STDIN, STDIN.replace("abc", "another")):
        assert machine.run(*command, stdin=joining).returncode == 0
    assert machine.read("state/ended") == "", "another token of the same cluster"
    done = machine.run(*command, stdin=STDIN.replace(TOKEN, "K10other"))
    assert done.returncode == 0, done.stderr
    assert TOKEN in machine.read("state/ended"), (
        "before the new configuration is there: a run that is cut off does it again"
    )
    assert "K10other" in machine.read("state/running")


def test_another_version_installs_and_restarts(machine: Machine, server: Server) -> None:
    node(machine).run("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu", stdin=STDIN)
    done = machine.run("k3s_install.sh", "server", "v1.26.15+k3s1", server.url, "", "5", "ubuntu", stdin=STDIN)
    assert done.stdout == "k3s version v1.26.15+k3s1 (a fake)\n"
    assert restarts(machine) == ["systemctl restart --no-block k3s"]
    assert "v1.26.15+k3s1" in machine.read("state/running")


@pytest.mark.chaos
@pytest.mark.parametrize("upgrade", [False, True])
def test_a_run_killed_anywhere_is_made_good_by_the_next(
    new_machine: Callable[[], Machine], server: Server, upgrade: bool
) -> None:
    older = node(new_machine())
    if upgrade:
        older.run(
            "k3s_install.sh", "server", "v1.24.0+k3s1", server.url, "", "5", "ubuntu", stdin=f"{PASSWORD}\n{{}}\n"
        )

    def prepared() -> Machine:
        machine = node(new_machine())
        shutil.copytree(older.root, machine.root, dirs_exist_ok=True)
        return machine

    command = ("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu")
    whole = prepared()
    assert whole.run(*command, stdin=STDIN).returncode == 0
    wanted = {path: file for path, file in whole.contents().items() if path != "state/installed"}
    for step in whole.changing_steps:
        machine = prepared()
        assert machine.run(*command, stdin=STDIN, dies_at=step).returncode != 0, f"survived step {step}"
        died_at = machine.ran[-1]
        assert machine.run(*command, stdin=STDIN).returncode == 0, f"after death at {died_at}"
        found = {path: file for path, file in machine.contents().items() if path != "state/installed"}
        assert found == wanted, f"after death at {died_at}"


@pytest.mark.parametrize(
    ("files", "messages"),
    [
        ({}, ["curl: (22) ", "no installer from http://127.0.0.1:"]),
        ({"/install.sh": "echo no space left >&2; exit 7"}, ["no space left\n", "failed, or took longer than 3 s"]),
        ({"/install.sh": "sleep() { /bin/sleep 60; }; sleep"}, ["failed, or took longer than 3 s"]),
        ({"/install.sh": INSTALLER.replace("$INSTALL_K3S_VERSION (", "v1.0 (")}, ["ran, but k3s --version says: k3s"]),
    ],
    ids=["absent", "fails", "hangs", "other version"],
)
def test_says_what_went_wrong_with_the_installer(
    machine: Machine, server: Server, files: dict[str, str], messages: list[str]
) -> None:
    server.files = files
    done = node(machine).run("k3s_install.sh", "server", VERSION, server.url, "", "3", "ubuntu", stdin=STDIN)
    assert done.returncode == 1
    for message in messages:
        assert message in done.stderr
    assert TOKEN not in done.stderr
    assert not restarts(machine)


def test_no_other_installer_runs_than_the_one_that_is_named(machine: Machine, server: Server) -> None:
    def install(checksum: str) -> subprocess.CompletedProcess[str]:
        url = f"{server.url}#sha256={checksum}"
        return node(machine).run("k3s_install.sh", "server", VERSION, url, "", "5", "ubuntu", stdin=STDIN)

    good = hashlib.sha256(INSTALLER.encode()).hexdigest()
    done = install("0" * 64)
    assert done.returncode == 1
    assert f"is not the one that k3s.installerUrl names: its SHA-256 is {good}. Nothing of it ran." in done.stderr
    assert not machine.exists("state/environment")
    assert install(good).returncode == 0


@pytest.mark.parametrize(("scheme", "followed"), [("https", "https"), ("http", "http,https")])
def test_no_redirect_leads_out_of_https(machine: Machine, scheme: str, followed: str) -> None:
    node(machine).fake("curl", 'echo "$*" >>"$STATE/asked"; exit 47')
    url = f"{scheme}://mirror.example"
    assert machine.run("k3s_install.sh", "server", VERSION, url, "", "5", "ubuntu", stdin=STDIN).returncode == 1
    assert f"--proto ={followed} " in machine.read("state/asked")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("stuck", "active: not within 1 s; last seen: activating\nthe journal: -u k3s -n 30 --no-pager\nk3s did not"),
        ("unready", "ready: not within 1 s; last seen: [-]etcd failed\nthe journal: -u k3s -n 30 --no-pager\n"),
    ],
)
def test_says_what_it_waited_for(machine: Machine, server: Server, missing: str, message: str) -> None:
    node(machine).write(f"state/{missing}")
    done = machine.run("k3s_install.sh", "server", VERSION, server.url, "", "1", "ubuntu", stdin=STDIN)
    assert done.returncode == 1
    assert message in done.stderr
    (machine.root / "state" / missing).unlink()
    machine.run("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu", stdin=STDIN)
    assert restarts(machine), "what never came up was not started anew"


def test_a_node_does_not_change_its_role_in_place(machine: Machine, server: Server) -> None:
    node(machine).run("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu", stdin=STDIN)
    before = machine.files()
    done = machine.run("k3s_install.sh", "agent", VERSION, server.url, "", "5", "ubuntu", stdin=f"{PASSWORD}\n{{}}\n")
    assert done.returncode == 1
    assert "already runs k3s and cannot become agent in place; remove the node from the configuration" in done.stderr
    assert machine.files() == before


HOW = f"{PATH}.d/cilium-bgp.yaml"
AUTHORITY = "0a" * 32
START = "cluster-init: true\n"
JOIN = f'server: "https://10.26.23.1:6443"\ntoken: "K10{AUTHORITY}::server:abc"\n'


@pytest.mark.parametrize(
    ("authority", "datastore", "how"),
    [
        ("", "", START),
        (AUTHORITY, "", JOIN),
        ("", "state.db", START),  # SQLite, of which k3s makes an etcd
        (AUTHORITY, "state.db", START),
        ("", "etcd/name", ""),
        (AUTHORITY, "etcd/name", ""),
    ],
)
def test_a_server_without_a_datastore_joins_a_cluster_that_is_there(
    machine: Machine, server: Server, authority: str, datastore: str, how: str
) -> None:
    node(machine)
    if datastore:
        machine.write(f"/var/lib/rancher/k3s/server/db/{datastore}", "")
    arguments = ("server", VERSION, server.url, "", "5", "ubuntu", "https://10.26.23.1:6443", authority)
    text = json.dumps({"node-name": "k3s2", "token": "abc", "agent-token": "def"}, indent=1)
    done = machine.run("k3s_install.sh", *arguments, stdin=f"{PASSWORD}\n{text}\n")
    assert done.returncode == 0, done.stderr
    assert (machine.read(HOW) if (machine.root / HOW.strip("/")).exists() else "") == how
    if how:
        assert machine.mode(HOW) == "0o600"


def test_a_nodes_password_is_given_once(machine: Machine, server: Server) -> None:
    arguments = ("k3s_install.sh", "agent", VERSION, server.url, "", "5", "ubuntu")
    assert node(machine).run(*arguments, stdin=STDIN).returncode == 0
    assert machine.read("/etc/rancher/node/password") == f"{PASSWORD}\n"
    assert machine.mode("/etc/rancher/node/password") == "0o600"
    assert PASSWORD not in "\n".join(machine.ran)
    machine.run(*arguments, stdin=f"another\n{CONFIG}")
    assert machine.read("/etc/rancher/node/password") == f"{PASSWORD}\n"


@pytest.mark.parametrize(
    ("runs", "wanted", "said"),
    [
        ("v1.25.6+k3s1", "v1.25.10+k3s1", ""),
        ("v1.25.6+k3s1", "v1.26.0+k3s1", ""),
        ("v1.25.6+k3s1", "v1.27.1+k3s1", "Kubernetes goes one minor release at a time. Write a v1.26 first"),
        ("v1.25.10+k3s1", "v1.25.6+k3s1", "k3s does not go back to an older release. Write v1.25.10+k3s1 or later."),
        ("v1.26.0+k3s1", "v1.25.16+k3s4", "does not go back"),
        ("v1.25.6+k3s2", "v1.25.6+k3s1", "does not go back"),
    ],
)
def test_a_node_that_has_run_goes_neither_back_nor_two_minors_on(
    machine: Machine, server: Server, runs: str, wanted: str, said: str
) -> None:
    rest = (server.url, "", "5", "ubuntu")
    node(machine).run("k3s_install.sh", "agent", runs, *rest, stdin=STDIN)
    (machine.root / "var/lib/kubelet").mkdir(parents=True)
    before = machine.files()
    done = machine.run("k3s_install.sh", "agent", wanted, *rest, stdin=STDIN)
    assert (done.returncode == 0) == (not said), done.stderr
    assert said in done.stderr
    if said:
        assert machine.files() == before


@pytest.mark.parametrize("key", ["cluster-cidr", "service-cidr"])
def test_a_server_with_a_datastore_keeps_its_ranges(machine: Machine, server: Server, key: str) -> None:
    arguments = ("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu")
    ranges = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16"}
    node(machine).run(*arguments, stdin=f"{PASSWORD}\n{json.dumps(ranges, indent=1)}\n")
    changed = f"{PASSWORD}\n{json.dumps(ranges | {key: '10.44.0.0/16'}, indent=1)}\n"
    (machine.root / "var/lib/rancher/k3s/server/db").mkdir(parents=True)
    before = machine.files()
    done = machine.run(*arguments, stdin=changed)
    assert done.returncode == 1
    assert f"the cluster has {key} {ranges[key]}, and 10.44.0.0/16 is asked for" in done.stderr
    assert machine.files() == before


def test_a_server_is_done_when_it_votes(machine: Machine, server: Server) -> None:
    arguments = ("k3s_install.sh", "server", VERSION, server.url, "", "1", "ubuntu")
    node(machine).write("state/etcd", METRICS.replace("learner 0", "learner 1"))
    done = machine.run(*arguments, stdin=STDIN)
    assert done.returncode == 1
    assert " a voting member: not within 1 s; last seen: nothing\nthe journal: -u k3s" in done.stderr


def test_the_token_of_a_cluster_that_is_there_already_is_taken(machine: Machine) -> None:
    assert machine.run("k3s_token.sh").stdout == ""
    machine.write("/var/lib/rancher/k3s/server/node-token", "K10abc\n")
    assert machine.run("k3s_token.sh").stdout == "K10abc\n"


def test_the_authoritys_hash_is_that_of_its_file(machine: Machine) -> None:
    machine.write("/var/lib/rancher/k3s/server/tls/server-ca.crt", "a certificate\n")
    assert machine.run("k3s_ca.sh").stdout == hashlib.sha256(b"a certificate\n").hexdigest() + "\n"


KUBECONFIG = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\nusers:\n- user: {client-key-data: a2V5}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_servers_login_user_has_a_kubeconfig(machine: Machine, server: Server) -> None:
    (machine.root / "run/ubuntu").mkdir()
    (machine.root / "etc/profile.d").mkdir()
    arguments = ("k3s_install.sh", "server", VERSION, server.url, "", "5", "ubuntu")
    assert node(machine).run(*arguments, stdin=STDIN).returncode == 0
    its: Path = machine.root / "run/ubuntu/.kube/config"
    assert its.read_text() == "the kubeconfig\n"
    asks = f"HOME={its.parents[1]}; . {machine.root}/etc/profile.d/cilium-bgp.sh; echo $KUBECONFIG"
    assert (
        subprocess.run(["env", "-i", "sh", "-c", asks], capture_output=True, text=True, check=True).stdout == f"{its}\n"
    )
    assert (machine.mode("run/ubuntu/.kube"), machine.mode("run/ubuntu/.kube/config")) == ("0o700", "0o400")
    assert {its.stat().st_uid, its.stat().st_gid, its.parent.stat().st_uid} == {1000}


@pytest.mark.parametrize("lasts", [True, False])
def test_the_kubeconfig_has_a_certificate_that_lasts(machine: Machine, lasts: bool) -> None:
    machine.write("/etc/rancher/k3s/k3s.yaml", KUBECONFIG, 0o600)
    machine.fake("openssl", "exit 0" if lasts else "exit 1")
    machine.fake("systemctl")
    machine.fake("k3s")
    machine.fake("base64")
    done = machine.run("k3s_kubeconfig.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == KUBECONFIG
    assert ("systemctl restart --no-block k3s" in machine.ran) != lasts, "k3s renews it at a start near its end"
    assert "a2V5" not in "\n".join(machine.ran)


def test_a_login_user_who_is_not_there_is_told_with_the_key(machine: Machine) -> None:
    done = machine.run("k3s_install.sh", "agent", VERSION, "http://127.0.0.1:9/", "", "1", "debian", stdin=STDIN)
    assert done.returncode == 1
    assert done.stderr.startswith("no user debian on ")
    assert done.stderr.endswith("; lxd.loginUser must be the image's own user\n")
