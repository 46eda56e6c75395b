# Take a node out of the host's routes, then move its pods away; or, when it is back, let it in again.
# usage: node_aside.sh leave|return ADDRESS COMMAND…
# COMMAND: what else leaving or returning takes. On return it prints "NAME Ready ADDRESS…" of a node that can have a
# session as those of its cluster at ADDRESS… have.
way=$1 address=$2
shift 2

# An upstream's default route is no way to a pod.
hops() { ip -4 route show proto bgp | sed '/^default/d' | grep -o 'via [0-9.]*' | sort -u; }
used() { hops | grep -x "via $address"; }
unused() { ! used; }
is_out() { command -v vtysh >/dev/null && vtysh -c 'show running-config' 2>/dev/null | grep -qx "route-map NODE-$address deny 5"; }
# Not in frr.conf: a router that starts anew knows of nobody who is out.
told() { # COMMAND…
    vtysh -c 'configure terminal' -c "$*" >&2
    vtysh -c "clear bgp ipv4 unicast $address soft in" >&2 || : # one that has no session, or is no neighbor any more
}
out() {
    # Where it is the only way there is no other to take.
    if used >/dev/null && hops | grep -qvx "via $address"; then
        told route-map "NODE-$address" deny 5
        await 30 "no route by $address any more" unused || exit 1
    fi
}
in_() {
    if is_out; then told no route-map "NODE-$address" deny 5; fi
}
# Where none of them has one either, its sessions wait for what comes later in this run: a password, another ASN, Cilium.
# Who is not of its cluster does not count: nodes of a former one speak on until they have joined this one.
established() {
    vtysh -c 'show bgp neighbors' | awk -v address="$address" -v others=" $others " '
        /^BGP neighbor is / { gsub(/[*,]/, "", $4); neighbor = $4 }
        /BGP state = Established/ { if (index(others, " " neighbor " ")) any = 1; if (neighbor == address) its = 1 }
        /BGP state = / { line = neighbor ": " $0; if (neighbor == address) state = line; else print line }
        END { if (state) print state; exit any && !its }'
}
as_others() { used || ! hops | cut -d ' ' -f 2 | grep -xF "$(echo "$others" | tr ' ' '\n')"; }

if [ "$way" = leave ]; then
    out
    "$@" || {
        in_
        exit 1
    }
else
    said=$("$@")
    echo "$said"
    in_
    case $said in *' Ready'*)
        others=${said#* Ready} others=${others# }
        if command -v vtysh >/dev/null; then
            await 120 "the session with $address, as other nodes have one" established || exit 1
            await 30 "routes by $address, as by other nodes" as_others || : # it may have none
        fi
        ;;
    esac
fi
