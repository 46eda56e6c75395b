# Take a node out of the host's routes, then move its pods away; or, when that is done, let it in again.
# usage: node_aside.sh leave|return ADDRESS COMMAND…     (COMMAND: what else leaving or returning takes)
way=$1 address=$2
shift 2

hops() { ip -4 route show proto bgp | grep -o 'via [0-9.]*' | sort -u; }
used() { hops | grep -x "via $address"; }
unused() { ! used; }
is_out() { command -v vtysh >/dev/null && vtysh -c 'show running-config' 2>/dev/null | grep -qx "route-map NODE-$address deny 5"; }
# Not in frr.conf: a router that starts anew knows of nobody who is out.
told() { # COMMAND…
    vtysh -c 'configure terminal' -c "$*" >&2
    vtysh -c "clear bgp ipv4 unicast $address soft in" >&2
}
out() {
    # Where it is the only way there is no other to take.
    if used >/dev/null && hops | grep -qvx "via $address"; then
        told route-map "NODE-$address" deny 5
        await 30 "no route by $address any more" unused || exit 1
    fi
}
in_() {
    if is_out; then
        established() { vtysh -c "show bgp neighbors $address" | grep -F 'BGP state = Established'; }
        await 120 "the session with $address" established || exit 1
        told no route-map "NODE-$address" deny 5
        await 30 "routes by $address" used || exit 1
    fi
}

if [ "$way" = leave ]; then
    out
    "$@" || {
        in_
        exit 1
    }
else
    "$@"
    in_
fi
