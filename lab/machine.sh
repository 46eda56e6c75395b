#!/bin/sh
# At the start of a machine of the lab, which is a container: what a machine has for itself, made or hidden.
set -eu

# Sysctls that are not of a network: a copy, so that what is set here does not change the machine that all this runs on.
copies=/run/lab-sysctl
for part in fs kernel vm; do
    mountpoint -q "/proc/sys/$part" && continue
    mkdir -p "$copies"
    cp -rx "/proc/sys/$part" "$copies/" 2>/dev/null || true
    case $part in
    kernel)
        mount --rbind /proc/sys/kernel/random "$copies/kernel/random"
        mount --bind /proc/sys/kernel/hostname "$copies/kernel/hostname"
        ;;
    esac
    mount --rbind "$copies/$part" "/proc/sys/$part"
done

# Where both cgroup versions are mounted, two controllers of the first are missing in a container.
groups=/sys/fs/cgroup
if ! [ -e "$groups/cgroup.controllers" ]; then
    mount -o remount,rw "$groups"
    for controller in cpu cpuacct; do
        [ ! -L "$groups/$controller" ] || rm "$groups/$controller"
        mkdir -p "$groups/$controller"
        mountpoint -q "$groups/$controller" || mount -t cgroup -o "$controller" cgroup "$groups/$controller"
    done
fi
