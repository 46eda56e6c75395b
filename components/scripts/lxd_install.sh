# Install LXD where there is none, wait until its API answers, print the path of its socket.
# usage: lxd_install.sh SECONDS
limit=$1

[ "$(id -u)" = 0 ] || fail "LXD's installation needs root; log in as root or as a user with sudo without a password"
[ "$(uname -s)" = Linux ] || fail "the host runs $(uname -s); LXD's containers need Linux"

sockets="/var/snap/lxd/common/lxd/unix.socket /var/lib/lxd/unix.socket"

socket() {
    for path in $sockets; do
        [ -S "$path" ] && curl -sSf --max-time 5 --unix-socket "$path" http://lxd/1.0 >/dev/null && echo "$path" && return
    done
    echo "no answer on $sockets"
    return 1
}

command -v curl >/dev/null || apt_install ca-certificates curl
start() {
    [ -d /run/systemd/system ] || return
    systemctl start snap.lxd.daemon.unix.socket 2>/dev/null || systemctl start lxd.socket lxd.service 2>/dev/null
}

if ! socket >/dev/null 2>&1; then
    # Ubuntu's lxd-installer has a command lxd but no LXD to start.
    if command -v lxd >/dev/null && start; then
        echo "LXD is installed but did not answer: started it" >&2
    elif command -v snap >/dev/null && systemctl is-active --quiet snapd.socket; then
        echo "installing LXD (snap, track 5.21)" >&2
        limited "$(left "$limit")" snap wait system seed.loaded </dev/null >&2 || fail "snapd was not ready within $limit s of the first boot"
        limited "$(left "$limit")" snap install lxd --channel=5.21/stable </dev/null >&2 ||
            fail "snap could not install LXD within $limit s; its lines are above"
    else
        echo "installing LXD (the distribution's package)" >&2
        apt_install lxd dnsmasq-base
    fi
fi
await "$(left "$limit")" "LXD's API on $(hostname)" socket || {
    journalctl -u lxd -u snap.lxd.daemon -n 30 --no-pager >&2 2>/dev/null || true
    exit 1
}
if [ -d /run/systemd/system ]; then
    # By its own unit LXD starts at boot only if a file says that nodes ran (`lxd activateifneeded`), which it writes when
    # it ends in an orderly way: after a power cut they came back when somebody asked LXD for something, and not before.
    # `enable` does nothing, for this unit names no target.
    for unit in snap.lxd.daemon.service lxd.service; do
        ! systemctl cat "$unit" >/dev/null 2>&1 || systemctl --quiet add-wants multi-user.target "$unit"
    done
fi
lxd=$await_seen
# LXD makes a bridge's rules with one of them. The snap has its own; Debian's package asks for neither.
case $lxd in /var/lib/lxd/*) command -v iptables >/dev/null || command -v nft >/dev/null || apt_install iptables ;; esac
echo "$lxd"
