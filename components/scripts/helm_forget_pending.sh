# Forget a Helm operation that was interrupted: the release stays as it was before, and Helm takes it up again.
# usage: helm_forget_pending.sh NAMESPACE RELEASE
k3s kubectl -n "$1" delete secrets --ignore-not-found --timeout=30s \
    -l "owner=helm,name=$2,status in (pending-install,pending-upgrade,pending-rollback)" >&2
