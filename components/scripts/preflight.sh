# Look at the host before anything on it is changed, and say all that would go wrong, each with its fix. If nothing
# would, the host is the stack's from then on; without OWNER it is only looked at.
# usage: preflight.sh OWNER STACK USER BRIDGE ADDRESS POOL PODS SERVICES PROJECT STORAGE_POOL DRIVER API_PORT SERVERS NEAR NODE…
# NEAR: routers that must be on a network of the host, NAME=ADDRESS with commas between.
owner=$1 stack=$2 user=$3 bridge=$4 address=$5 pool=$6 pods=$7 services=$8 project=$9
shift 9
storage=$1 driver=$2 api_port=$3 servers=$4 near=$5
shift 5
mine=/var/lib/cilium-bgp/owner

problems=''
problem() {
    [ -z "$*" ] || problems="$problems
$*"
}
note() { echo "note: $*" >&2; }

# One stack a host: router, firewall, sysctls and key pair are the host's. Earlier versions said nowhere whose they are.
settled=''
taken() { problem "the stack $1 is on this host already; there is one router, and each destroy would end the other's. Destroy that stack, or take another host. If its state is lost for good, take over what it left: $2"; }
if [ -s "$mine" ]; then
    settled=yes
    read -r its_owner its_stack <"$mine"
    [ "${owner:-$stack}" = "$(if [ -n "$owner" ]; then echo "$its_owner"; else echo "$its_stack"; fi)" ] || taken "$its_stack" "rm $mine"
elif [ -e /var/lib/cilium-bgp/frr/was ]; then
    settled=yes
fi

# The machine.
case $(uname -m) in
x86_64 | aarch64) ;;
*) problem "the host's processor is $(uname -m); k3s and Cilium are made for x86_64 and aarch64. Take another host" ;;
esac
command -v apt-get >/dev/null ||
    problem "the host has no apt-get, which LXD, FRR and nftables are installed with. Take one with Debian 12, Ubuntu 22.04 or later"
wanted=$((servers * 1536 + ($# - servers) * 768))
memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
if [ "$memory" -lt $wanted ]; then
    said="the host has $memory MiB of memory; servers: $servers, agents: $(($# - servers)) need $wanted MiB before anything of yours runs, and the kernel would end their processes. Take fewer nodes or a larger host"
    if [ -n "$settled" ]; then note "$said"; else problem "$said"; fi
fi

# The kernel.
has() { [ -e "/sys/module/$1" ] || modprobe -n -q "$1" 2>/dev/null; }
modules="Install the kernel's modules (Ubuntu: apt-get install linux-modules-extra-$(uname -r)), or boot a distribution's kernel"
grep -qw bpf /proc/filesystems || problem "the kernel has no bpf file system; Cilium could not run. Boot a distribution's kernel"
has vxlan || unshare -n ip link add cilium-bgp type vxlan id 1 dstport 4789 2>/dev/null ||
    problem "the kernel has no vxlan; pods of different nodes would not reach each other. $modules"
overlay=yes
grep -qw overlay /proc/filesystems || has overlay || {
    overlay=''
    problem "the kernel has no overlay file system; no container would start. $modules"
}
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    grep -qw memory /sys/fs/cgroup/cgroup.controllers
else
    awk '$1 == "memory" && $4 == 1 { on = 1 } END { exit !on }' /proc/cgroups
fi || problem "the kernel's memory controller is off; k3s would not start. Add 'cgroup_enable=memory cgroup_memory=1' to the kernel's command line (Raspberry Pi: /boot/firmware/cmdline.txt) and restart"

# The way in.
[ "$user" = root ] || id -nG "$user" | tr ' ' '\n' | grep -qx lxd ||
    problem "host.user $user is not in LXD's group; no run would reach LXD's socket. Add it: sudo groupadd -rf lxd && sudo usermod -aG lxd $user"
sshd=/etc/ssh/sshd_config process=$PPID
while [ "${process:-1}" -gt 1 ]; do
    case $(cat "/proc/$process/comm" 2>/dev/null) in sshd*)
        said=$(tr '\0' ' ' <"/proc/$process/cmdline")
        case $said in *' -f '*) sshd=${said#* -f } sshd=${sshd%% *} ;; esac
        ;;
    esac
    process=$(awk '/^PPid:/ { print $2 }' "/proc/$process/status" 2>/dev/null) || break
done
if says=$("$(command -v sshd)" -T -f "$sshd" -C "user=$user,host=localhost,addr=127.0.0.1" 2>/dev/null); then
    for option in AllowTcpForwarding AllowStreamLocalForwarding; do
        if echo "$says" | grep -qix 'DisableForwarding yes' || ! echo "$says" | grep -qiE "^$option (yes|all|local)$"; then
            problem "sshd allows $user no forwarding; nodes are reached by TCP's, LXD by its socket's. Write these lines to the end of $sshd and reload sshd: Match User $user, DisableForwarding no, AllowTcpForwarding local, AllowStreamLocalForwarding local"
            break
        fi
    done
    said=$(echo "$says" | grep -i '^permitopen ' || true)
    case $said in '' | *' any') ;; *)
        problem "sshd lets $user forward to some places alone ($said); nodes are reached by it. Write these lines to the end of $sshd and reload sshd: Match User $user, PermitOpen any"
        ;;
    esac
fi

# Networks. A route that is all but a default one (a VPN's 0.0.0.0/1) gives way to ours.
overlapping() {
    {
        ip -4 -o route show
        ip -4 -o address show | sed 's#^[0-9]*: *\([^ ]*\) .* inet \([^ /]*\).*#\2 dev \1#'
    } | awk -v key="$1" -v cidr="$2" -v bridge="$bridge" '
        function number(address, part) {
            split(address, part, ".")
            return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4]
        }
        BEGIN { split(cidr, ours, "/") }
        {
            there = $1 ~ /^[0-9]/ ? $1 : $2
            device = ""
            for (i = 1; i < NF; i++) if ($i == "dev") device = $(i + 1)
            split(there, its, "/")
            prefix = its[2] == "" ? 32 : its[2]
            if (there !~ /^[0-9]/ || prefix < 8 || device == bridge || said) next
            size = 2 ^ (32 - (prefix < ours[2] ? prefix : ours[2]))
            if (int(number(its[1]) / size) == int(number(ours[1]) / size)) {
                said = 1
                print key ": " cidr " overlaps " there ", which the host has" (device ? " on " device : "") "; one of the two would be cut off. Choose another network"
            }
        }'
}
problem "$(overlapping lxd.bridge.address "$address")"
problem "$(overlapping bgp.pool "$pool")"
problem "$(overlapping k3s.clusterCidr "$pods")"
problem "$(overlapping k3s.serviceCidr "$services")"
for its in $(echo "$near" | tr , ' '); do
    name=${its%%=*} router=${its#*=}
    way=$(ip -o route get "$router" 2>/dev/null || true)
    case $way in
    *' via '*) problem "bgp.upstreams.$name.address: $router is beyond $(echo "$way" | sed 's/.* via \([^ ]*\).*/\1/'), and a session with one hop alone would not reach it. Set bgp.upstreams.$name.multihop: 2, or write the address of a router next to the host" ;;
    *' dev '*) ;;
    *) problem "bgp.upstreams.$name.address: the host has no route to $router; there would be no session. Write the address that the host reaches it by" ;;
    esac
done
uplink=$(ip -4 route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
mtu=$(cat "/sys/class/net/$uplink/mtu" 2>/dev/null || echo 1500)
[ "$mtu" -ge 1500 ] || note "$uplink, the way to the internet, has an MTU of $mtu, less than the nodes': rules of the stack's tell it to both ends of their connections"

# Firewalls. What iptables drops for UFW or Docker, firewall.sh lets through; what others wrote for nftables it leaves.
for who in $(iptables -S 2>/dev/null | awk '
    /^-P (INPUT|FORWARD) DROP/ { drops = 1 }
    /^-A INPUT -j ufw-/ { ufw = "UFW" }
    /^-A FORWARD -j DOCKER/ { docker = "Docker" }
    END { if (drops) print(ufw docker == "" ? "iptables" : ufw " " docker) }'); do
    note "$who drops what nobody has allowed: rules for $bridge come with the stack, and go with it"
done
problem "$(nft list ruleset 2>/dev/null | awk -v bridge="$bridge" '
    /^table / { table = $2 " " $3 }
    /^\tchain / { chain = $2; hook = ""; known = 0 }
    /hook (input|forward) .*policy drop/ { hook = $4 }
    index($0, "\"" bridge "\"") { known = 1 }
    /^\t}/ && hook && !known && table !~ /^ip6? filter$/ {
        insert = "nft insert rule " table " " chain
        forward = insert " iifname " bridge " accept; " insert " oifname " bridge " accept"
        input = insert " iifname " bridge " udp dport { 53, 67 } accept; " insert " iifname " bridge " tcp dport { 53, 179 } accept"
        print "nftables: chain " chain " of table " table " drops what the nodes need. Allow it, now and in the file that it is loaded from: " (hook == "forward" ? forward : input)
        hook = ""
    }')"
if systemctl is-active --quiet firewalld 2>/dev/null && ! firewall-cmd -q --zone=trusted --query-interface="$bridge" 2>/dev/null; then
    problem "firewalld drops what the nodes need. Trust their bridge: firewall-cmd --permanent --zone=trusted --add-interface=$bridge && firewall-cmd --reload"
fi

# FRR, and who listens where we would.
if [ -z "$settled" ]; then
    # A package's own files say where to log, and no more.
    said=$(find /etc/frr -name '*.conf' ! -name vtysh.conf ! -name support_bundle_commands.conf \
        -exec grep -HvE '^ *([!#].*|log .*|frr .*|hostname .*|service integrated-vtysh-config|line vty|end|exit|)$' {} + 2>/dev/null | head -n 1 | without_passwords)
    [ -z "$said" ] ||
        problem "FRR on this host is in use ($said); the stack's configuration would replace that. Take another host, or move what is there elsewhere and leave the file empty"
    for port in 179 "$api_port"; do
        said=$(ss -Hltnp "sport = :$port" 2>/dev/null | grep -vE '127\.|\[::1\]' | head -n 1 || true)
        [ -z "$said" ] || problem "TCP port $port of the host is taken: $(echo "$said" | awk '{ print $4 " " $6 }'). End that program$([ "$port" = 179 ] || echo ', or set k3s.apiPort')"
    done
    said=$(ss -Hltunp "sport = :53" 2>/dev/null | awk '$5 ~ /^(0\.0\.0\.0|\*|\[::\]):53$/ { print $5 " " $7; exit }')
    [ -z "$said" ] || problem "port 53 of all of the host's addresses is taken: $said. LXD's DNS server could not start on $bridge, nor could the nodes find a name. Let that program listen on its own addresses only"
fi

# LXD, where it is there already.
socket=''
for path in /var/snap/lxd/common/lxd/unix.socket /var/lib/lxd/unix.socket; do [ ! -S "$path" ] || socket=$path; done
lxd() {
    [ -n "$socket" ] || return 0
    said=$(curl -sf --max-time 10 --unix-socket "$socket" "http://lxd/1.0/$1" || lxc query --raw "/1.0/$1") 2>/dev/null || return 0
    case $said in *"\"user.pulumi.owner\":\"$stack/"*) ;; *) echo "$said" ;; esac
}
case $(lxd cluster) in *'"enabled":true'*)
    problem "LXD on this host is a member of a cluster, where networks and pools are made on every member; the stack would not come up. Take another host"
    ;;
esac
value() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
there=$(lxd "networks/$bridge")
case $there in
'') [ -z "$socket" ] && ip link show dev "$bridge" >/dev/null 2>&1 && problem "lxd.bridge.name: the host has an interface $bridge already. Choose another name" ;;
*'"user.pulumi.owner":"'*)
    [ -s "$mine" ] || taken "$(echo "$there" | value user.pulumi.owner | sed 's#/[^/]*$##')" "lxc network unset $bridge user.pulumi.owner"
    ;;
*'"managed":false'*) problem "lxd.bridge.name: the host has an interface $bridge already, which is not LXD's. Choose another name" ;;
*)
    said=$(echo "$there" | value ipv4.address)
    [ "$said" = "$address" ] || problem "lxd.bridge.name: LXD has a network $bridge already, with $said instead of $address; what is on it would lose its network. Choose another name"
    ;;
esac
its_driver=$(lxd "storage-pools/$storage" | value driver)
[ "${its_driver:-$driver}" = "$driver" ] || problem "lxd.storagePool.driver: the pool $storage is there already, by driver $its_driver, not $driver. Write driver: $its_driver, or another name"
[ -z "$(lxd "profiles/k8s?project=$project")" ] ||
    problem "lxd.project: the project $project has a profile k8s already, which is not the nodes'. Choose a project of its own, like cilium-bgp"
for node; do
    [ -z "$(lxd "instances/$node?project=$project")" ] ||
        problem "nodes.$node: LXD's project $project has an instance of that name already. Choose another name, or a project of its own (lxd.project)"
done

# Where the nodes' disks will be.
disk=${socket%/unix.socket}
[ -n "$disk" ] || { command -v snap >/dev/null && disk=/var/snap || disk=/var/lib; }
[ -d "$disk" ] || disk=/var
free=$(df -Pk "$disk" | awk 'END { print int($4 / 1024) }')
needed="$# nodes with their images need $(($# * 4096)) MiB"
if [ "$driver" = dir ] && [ -z "$settled" ]; then
    [ "$free" -ge $(($# * 4096)) ] || problem "$disk has $free MiB free; $needed. Take fewer nodes or a larger disk"
    if [ -n "$overlay" ]; then
        probe=$(mktemp -d -p "$disk")
        mkdir "$probe/lower" "$probe/upper" "$probe/work" "$probe/both"
        unshare -m mount -t overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" overlay "$probe/both" 2>/dev/null ||
            problem "the file system of $disk ($(stat -f -c %T "$disk")) takes no overlay above it; no container would start in a node. Put it on ext4, xfs or btrfs"
        rm -rf "$probe"
    fi
elif [ -z "$settled$its_driver" ]; then
    # What LXD makes by itself: a fifth of what is free, 5 GiB at least and 30 at most.
    size=$((free / 5))
    if [ $size -lt 5120 ]; then size=5120; elif [ $size -gt 30720 ]; then size=30720; fi
    { [ "$free" -ge $size ] && [ $size -ge $(($# * 4096)) ]; } ||
        problem "lxd.storagePool.driver: of the $free MiB that are free at $disk, LXD gives a new $driver pool $size; $needed. Write driver: dir, or make a larger pool first: lxc storage create $storage $driver size=$(($# * 4))GiB"
fi
if [ "$driver" = zfs ] && [ "$(head -n 1 /sys/module/zfs/version 2>/dev/null | cut -d . -f 1,2 | awk '{ print ($1 < 2.2) }')" = 1 ]; then
    problem "lxd.storagePool.driver: ZFS before 2.2 takes no overlay above it; no container would start in a node. Write driver: dir or btrfs, and another name"
fi

[ -z "$problems" ] || fail "this host is not ready, and was not touched:$problems"
if [ -n "$owner" ] && ! [ -s "$mine" ]; then echo "$owner $stack" | put "$mine" 644; fi
applied
echo ready
