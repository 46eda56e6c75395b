# shellcheck shell=sh
# Goes before every script of this folder.
set -eu

fail() {
    echo "$*" >&2
    exit 1
}

# `timeout` stops the script and what it started, at its time limit or when a newer run begins.
trap '[ -z "${limited_pid:-}" ] || { kill "$limited_pid" && wait "$limited_pid"; } 2>/dev/null || :
fail "$0: stopped by its time limit, or by a newer run${await_what:+, while it awaited $await_what; last seen: ${await_last:-nothing}}"' TERM

# Seconds since boot: the clock may be set while a script waits.
uptime() {
    read -r uptime_now _ </proc/uptime
    uptime_now=${uptime_now%.*}
}

# left SECONDS: how many of SECONDS are left since the script started, at least 1.
uptime
started=$uptime_now
left() {
    uptime
    left_end=$((started + $1 - uptime_now))
    echo $((left_end > 1 ? left_end : 1))
}

# limited SECONDS COMMAND…: run COMMAND, which is ended with what it started after SECONDS, and with this script.
limited() {
    timeout -k 5 "$@" <&0 &
    limited_pid=$!
    limited_status=0
    wait "$limited_pid" || limited_status=$?
    limited_pid=''
    return "$limited_status"
}

# await SECONDS WHAT COMMAND…: run COMMAND each second until it succeeds; returns 1, having said what was last seen. Says
# it on the way too, the last line of it: so nothing that COMMAND writes may be secret.
await() {
    await_limit=$1 await_what=$2 await_last=''
    shift 2
    uptime
    await_began=$uptime_now await_said=$uptime_now
    until await_seen=$("$@" 2>&1 </dev/null); do
        await_last=$await_seen
        uptime
        if [ "$uptime_now" -ge $((await_began + await_limit)) ]; then
            echo "$await_what: not within $await_limit s; last seen: ${await_last:-nothing}" >&2
            return 1
        fi
        if [ "$uptime_now" -ge $((await_said + 15)) ]; then
            await_said=$uptime_now
            await_line=$(printf '%s\n' "${await_last:-nothing}" | tail -n 1)
            echo "waiting for $await_what: last seen $await_line ($((uptime_now - await_began)) of $await_limit s)" >&2
        fi
        sleep 1
    done
    await_what=''
}

# A change that was made but is not in force yet is remembered, for a script that was cut off to pick up.
changes=/var/lib/cilium-bgp/$0.changed
change() { mkdir -p "${changes%/*}" && : >"$changes"; }
changed() { [ -e "$changes" ]; }
applied() { rm -f "$changes"; }

# put FILE MODE: standard input becomes the content of FILE, at once and as a change, if it is not already.
put() {
    mkdir -p "${1%/*}"
    (umask 077 && cat >"$1.new")
    chmod "$2" "$1.new"
    if cmp -s "$1.new" "$1"; then
        rm "$1.new"
    else
        change
        mv "$1.new" "$1"
    fi
}

# service UNIT start|restart|reload|stop|status: with systemd, or with the init script where there is none.
service_() {
    if [ -d /run/systemd/system ]; then systemctl "$2" "$1"; else service "$1" "$2"; fi
}

# journal UNIT: its last lines, on standard error, without the passwords that they quote.
journal() { journalctl -u "$1" -n 30 --no-pager 2>/dev/null | without_passwords >&2 || true; }
without_passwords() { sed 's/password .*/password …/'; }

apt_install() {
    command -v apt-get >/dev/null || fail "$*: this system has no apt-get; Debian 12 or Ubuntu 22.04 and later are supported. Install $* by hand and run again."
    export DEBIAN_FRONTEND=noninteractive
    # A machine that has just started updates its lists by itself, and apt-get does not wait for that lock.
    await 120 "apt-get update" apt-get -qq update || exit 1
    set -- apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "$@"
    # Where it was cut off before, dpkg has to finish first.
    "$@" </dev/null >/dev/null || { dpkg --configure -a </dev/null >/dev/null && "$@" </dev/null >/dev/null; } ||
        fail "$*: failed; its lines are above"
}

# spread NODE, on a server, before a drain, which ends all pods of a node at once: where all of a ReplicaSet are on it, one
# moves first, and somebody is there to make what ends anew elsewhere.
spread() {
    await 90 "the cluster's controllers at work" controllers || :
    k3s kubectl cordon "$1" >&2 </dev/null || :
    await 60 "a pod of each ReplicaSet elsewhere than on $1" apart "$1" || : # there may be no room for it
}
# With a server that restarts their leader may go. Another one takes over after 15 s, and works a while after that; until
# then what ends is replaced by nothing, and requests go on to it.
controllers() {
    lease() { k3s kubectl get lease -n kube-system kube-controller-manager --ignore-not-found -o 'jsonpath={.spec.acquireTime} {.spec.renewTime}'; }
    before=$(lease) && sleep 3 && now=$(lease) || return 1
    case $now in *Z\ *Z) ;; *) return 0 ;; esac # they elect no leader
    age=$(($(date -ud "${now#* }" +%s) - $(date -ud "${now% *}" +%s)))
    echo "their leader took over $age s ago$([ "$before" != "$now" ] || echo ', and is silent')"
    [ "$before" != "$now" ] && [ "$age" -ge 30 ]
}
apart() {
    together=$(k3s kubectl get pods -A -o 'jsonpath={range .items[*]}{.metadata.namespace}|{.metadata.name}|{.spec.nodeName}|{.metadata.ownerReferences[?(@.kind=="ReplicaSet")].uid}|{.status.conditions[?(@.type=="Ready")].status}|{.metadata.deletionTimestamp}{"\n"}{end}' |
        awk -F '|' -v node="$1" '
            !$4 || $6 { next }
            $3 != node { elsewhere[$4] = 1; ready[$4] = ready[$4] || $5 == "True"; next }
            $5 == "True" { here[$4]++; first[$4] = $1 " " $2 }
            END { for (its in here) if (here[its] > 1 && !ready[its]) print first[its], elsewhere[its] ? "comes" : "" }')
    [ -n "$together" ] || return 0
    echo "$together"
    echo "$together" | while read -r namespace pod comes; do
        [ -n "$comes" ] || printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"namespace":"%s","name":"%s"}}' "$namespace" "$pod" |
            k3s kubectl create --raw "/api/v1/namespaces/$namespace/pods/$pod/eviction" -f - || exit 1
    done || return 0 # what a PodDisruptionBudget refuses, the drain asks for again
    return 1
}
