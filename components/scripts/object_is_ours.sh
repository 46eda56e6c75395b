# Fail if an object of that name is in the cluster that the stack has not made.
# usage: object_is_ours.sh KIND NAMESPACE NAME
mark=app.kubernetes.io/managed-by
live="k3s kubectl --request-timeout=30s -n $2"
found=$($live get "$1" "$3" --ignore-not-found -o json)
case $(printf %s "$found" | tr -d ' \n') in
'' | *"\"$mark\":\"cilium-bgp\""*) ;;
*) fail "$1 $3 in namespace $2 is there already and is not the stack's, which would change it now and delete it in the end. Rename or delete yours. If it is the stack's own, of an earlier version: $live label $1 $3 $mark=cilium-bgp" ;;
esac
