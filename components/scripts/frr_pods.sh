# Let the router take from each node its own pods' ranges, and wait until the host has the routes. Without any: none.
# usage: frr_pods.sh SECONDS [ADDRESS=RANGE,RANGE…]…
limit=$1
shift
conf=/etc/frr/frr.conf

[ -e "$conf" ] || exit 0
new=$(mktemp)
trap 'rm -f "$new"' EXIT
grep -v '^ip prefix-list NODE-.* seq [2-9][0-9]* ' "$conf" >"$new" || true
for pair; do
    seq=20
    for range in $(echo "${pair#*=}" | tr , ' '); do
        echo "ip prefix-list NODE-${pair%%=*} seq $seq permit $range" >>"$new"
        seq=$((seq + 1))
    done
done
put "$conf" 640 <"$new"
chown frr:frr "$conf"
if changed && ! said=$(service_ frr reload </dev/null 2>&1); then
    journal frr
    fail "frr did not reload: $(echo "$said" | without_passwords)"
fi
applied

for pair; do
    for range in $(echo "${pair#*=}" | tr , ' '); do
        route() {
            ip route show "$range" proto bgp | grep -wF "${pair%%=*}" || {
                vtysh -c "show bgp neighbors ${pair%%=*}" | grep 'BGP state' || true
                false
            }
        }
        await "$(left "$limit")" "a route to $range, the pods of ${pair%%=*}" route || exit 1
    done
done
echo "$*"
