"""folder.sh and k3s_snapshot.sh; k3s is a fake."""

from tests.scripts.machine import Machine

FOLDER = "/var/backups/cilium-bgp"


def test_a_folder_is_made_for_root_alone_and_one_that_is_there_stays(machine: Machine) -> None:
    done = machine.run("folder.sh", FOLDER)
    assert (done.returncode, done.stdout) == (0, f"{FOLDER}\n"), done.stderr
    assert machine.mode(FOLDER) == "0o700"
    (machine.root / FOLDER.lstrip("/")).chmod(0o750)
    assert machine.run("folder.sh", FOLDER).returncode == 0
    assert machine.mode(FOLDER) == "0o750"


def test_a_file_in_its_place_is_told_with_the_key(machine: Machine) -> None:
    machine.write(FOLDER, "a file")
    done = machine.run("folder.sh", FOLDER)
    assert done.returncode == 1
    assert f"{FOLDER} (k3s.snapshots.folder) cannot be made" in done.stderr


def test_a_snapshot_is_told_by_its_name(machine: Machine) -> None:
    machine.write("/etc/rancher/k3s/config.yaml", '{\n "etcd-snapshot-dir": "/var/lib/kept",\n "token": "abc"\n}\n')
    machine.write("/var/lib/kept/etcd-snapshot-k3s1-3", "")
    machine.write("/var/lib/kept/on-demand-k3s1-1", "")
    machine.fake("k3s", ": >/var/lib/kept/on-demand-k3s1-2; echo 'Snapshot on-demand-k3s1-2 saved.'")
    done = machine.run("k3s_snapshot.sh")
    assert (done.returncode, done.stdout) == (0, "on-demand-k3s1-2\n"), done.stderr
    assert "k3s etcd-snapshot save" in machine.ran


def test_why_there_is_no_snapshot(machine: Machine) -> None:
    machine.write("/etc/rancher/k3s/config.yaml", "{}")
    machine.fake("k3s", "echo 'etcd datastore is not started' >&2; exit 1")
    done = machine.run("k3s_snapshot.sh")
    assert done.returncode == 1
    assert "etcd datastore is not started" in done.stderr
    assert "k3s took no snapshot on " in done.stderr
