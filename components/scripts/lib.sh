# shellcheck shell=sh
# Goes before every script of this folder.
set -eu

fail() {
    echo "$*" >&2
    exit 1
}

# await SECONDS WHAT COMMAND…: run COMMAND each second until it succeeds; returns 1, having said what was last seen.
await() {
    await_limit=$1 await_what=$2
    shift 2
    await_end=$(($(date +%s) + await_limit))
    until await_seen=$("$@" 2>&1 </dev/null); do
        if [ "$(date +%s)" -ge "$await_end" ]; then
            echo "$await_what: not within $await_limit s; last seen: ${await_seen:-nothing}" >&2
            return 1
        fi
        sleep 1
    done
}

# service UNIT start|restart|reload|stop|status: with systemd, or with the init script where there is none.
service_() {
    if [ -d /run/systemd/system ]; then systemctl "$2" "$1"; else service "$1" "$2"; fi
}

apt_install() {
    command -v apt-get >/dev/null || fail "$*: this system has no apt-get; Debian 12 or Ubuntu 22.04 and later are supported. Install $* by hand and run again."
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 -qq update >/dev/null
    apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "$@" >/dev/null
}
