# Print what a helper needs to see of the host and of a stack's nodes. Nothing is changed, and nothing is waited for.
# usage: support.sh PROJECT/NODE…
PATH=$PATH:/snap/bin

show() { # COMMAND…
    echo
    echo "\$ $*"
    timeout 20 "$@" </dev/null 2>&1 || echo "(it ended with $?)"
}
log() { show "$@" | without_passwords; }

show uname -a
show cat /etc/os-release
show uptime
show free -m
show df -h -x tmpfs -x overlay
show systemctl --no-pager --plain list-units --all 'lxd*' 'snap.lxd*' 'frr*' 'haproxy*' 'cilium-bgp*'
show ls -lR /var/lib/cilium-bgp
show lxc version
show lxc list --all-projects
show lxc network list
show lxc storage list
show ip -4 address
show ip -4 route
show vtysh -c 'show bgp ipv4 unicast summary'
show vtysh -c 'show bgp ipv4 unicast'
show nft list ruleset
log journalctl --no-pager -n 200 -u frr
log journalctl --no-pager -n 200 -u lxd -u snap.lxd.daemon
log journalctl --no-pager -n 50 -u 'cilium-bgp*'
log journalctl --no-pager -n 50 -k

asked=''
for node; do
    set -- lxc exec --project "${node%%/*}" "${node#*/}" --
    show "$@" systemctl --no-pager --plain list-units --all 'k3s*'
    log "$@" journalctl --no-pager -n 200 -u k3s -u k3s-agent
    if [ -z "$asked" ] && timeout 20 "$@" k3s kubectl get --raw /readyz </dev/null >/dev/null 2>&1; then
        asked=yes
        show "$@" k3s kubectl get nodes,services,pods -A -o wide
        show "$@" k3s kubectl get events -A --sort-by=.lastTimestamp
    fi
done
