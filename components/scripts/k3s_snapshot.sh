# Take a snapshot of the cluster's state (docs.k3s.io, etcd-snapshot), where config.yaml says; prints its name.
# usage: k3s_snapshot.sh
folder=$(sed -n 's/^ *"etcd-snapshot-dir": "\(.*\)",*$/\1/p' /etc/rancher/k3s/config.yaml)
: "${folder:=/var/lib/rancher/k3s/server/db/snapshots}"
k3s etcd-snapshot save >&2 || fail "k3s took no snapshot on $(hostname); see the lines above"
taken=$(find "$folder" -maxdepth 1 -type f -name 'on-demand-*' -printf '%T@ %f\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
[ -n "$taken" ] || fail "k3s says that it has taken one, and none is in $folder on $(hostname)"
echo "$taken"
