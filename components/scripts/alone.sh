# shellcheck shell=sh
# Runs a command as the only one of its name on this machine. An earlier one, whose run was cancelled or killed, is ended
# first with all that it started. It ends when the SSH connection that it came by ends: nobody would hear of it.
# usage: sh -c … NAME COMMAND…     under timeout(1), whose process group is what is ended
set -eu
record=/run/cilium-bgp.$0

# about PID: its name, its parent, and when it started (in ticks since boot), which no later process of that number has.
about() {
    { read -r about_stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    about_name=${about_stat#*\(} about_name=${about_name%\)*}
    # shellcheck disable=SC2086 # numbers
    set -- ${about_stat##*\) }
    about_state=$1 about_parent=$2 about_group=$3 about_started=${20}
}

# works GROUP: a process of that group is left; one that only waits to be reaped is none.
works() {
    for works_pid in /proc/[0-9]*; do
        about "${works_pid#/proc/}" && [ "$about_group" = "$1" ] && [ "$about_state" != Z ] && return
    done
    return 1
}

if { read -r earlier since <"$record"; } 2>/dev/null && about "$earlier" && [ "$about_started" = "$since" ]; then
    echo "${0#*.}: ending the one of an earlier run" >&2
    kill "$earlier"
    tries=0
    while works "$earlier"; do
        tries=$((tries + 1))
        [ $tries -le 30 ] || {
            echo "${0#*.}: the one of an earlier run (process group $earlier) still works 30 s after it was told to end" >&2
            exit 1
        }
        sleep 1
    done
fi

watching='' session=$PPID
while about "$session" && [ "$about_parent" -gt 0 ]; do
    case $about_name in sshd*)
        { while [ -e "/proc/$session" ]; do sleep 1; done && kill "$PPID"; } </dev/null >/dev/null 2>&1 &
        watching=$!
        break
        ;;
    esac
    session=$about_parent
done

if about "$PPID"; then
    echo "$PPID $about_started" >"$record.new"
    mv -f "$record.new" "$record"
fi
trap : TERM # timeout(1) tells the command too
status=0
"$@" || status=$?
[ -z "$watching" ] || kill "$watching"
rm -f "$record"
exit $status
