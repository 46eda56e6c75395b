# Load the kernel modules and set the sysctls that the nodes need, now and at every boot.
# Prints the modules that could be loaded, separated by commas. usage: kernel_prepare.sh MODULE…
modules_file=/etc/modules-load.d/cilium-bgp.conf
sysctl_file=/etc/sysctl.d/60-cilium-bgp.conf
kept=/var/lib/cilium-bgp/sysctl

loaded='' missing=''
if [ -e /proc/modules ]; then
    for module; do
        if modprobe -q "$module"; then
            loaded=$loaded,$module
        elif ! [ -e "/sys/module/$module" ]; then
            missing="$missing $module"
        fi
    done
else
    echo "this kernel loads no modules: what the nodes need must be built in" >&2
fi
[ -z "$missing" ] || echo "not in this kernel, Cilium may miss them:$missing" >&2

echo "${loaded#,}" | tr ',' '\n' | put "$modules_file" 644
# What was set before, so that destroy can bring it back.
if ! [ -e "$kept" ]; then
    mkdir -p "${kept%/*}"
    sysctl fs.inotify.max_user_instances fs.inotify.max_user_watches >"$kept.new"
    mv "$kept.new" "$kept"
fi
# Several kubelets and runtimes share the host's inotify limits. Forwarding is LXD's to set, with the bridge.
put "$sysctl_file" 644 <<'SYSCTL'
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 1048576
SYSCTL
sysctl -q -p "$sysctl_file"
applied
echo "${loaded#,}"
