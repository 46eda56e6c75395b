# Forget what Helm keeps of a release, as far as it would refuse the next operation for ever. What runs stays.
# usage: helm_forget.sh NAMESPACE RELEASE create|update
#   create: all; a release that is not in the stack's state is installed over what is there already, which Helm takes for
#           its own again
#   update: operations that were interrupted; the release is then as it was before
case $3 in
create) which= ;;
update) which=",status in (pending-install,pending-upgrade,pending-rollback)" ;;
esac
k3s kubectl -n "$1" delete secrets --ignore-not-found --timeout=30s -l "owner=helm,name=$2$which" >&2
