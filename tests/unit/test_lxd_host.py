"""LXD on the host."""

from tests.unit.graph import HOST_PUBLIC_KEY, dev, stack, values

ARTICLE = {"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", "ip_tables", "ip6_tables", "netlink_diag", "nf_nat"} | {
    "overlay",
}
CILIUM = {"xt_socket", "xt_TPROXY", "xt_CT", "xt_mark", "ip_set", "ip_set_hash_ip", "cls_bpf", "sch_ingress", "vxlan"}
IPTABLES = {"iptable_nat", "iptable_mangle", "iptable_raw", "iptable_filter"} | {
    "ip6table_mangle",
    "ip6table_raw",
    "ip6table_filter",
}


def test_lxd_is_installed_within_the_time_that_is_configured() -> None:
    ran = stack(values(lxd={"timeoutSeconds": 77}))["lxd-install"].ran()
    assert (ran.file, ran.parameters) == ("lxd_install.sh", ("77",))
    assert ran.seconds > 77, "the script's own message must come before it is ended"
    assert "lxd-install-finalizer" not in {its.name for its in dev()}, "an LXD may hold instances of others"


def test_the_kernel_gets_what_the_nodes_cannot_load_and_loses_it_on_destroy() -> None:
    kernel = dev()["lxd-kernel"]
    assert kernel.ran().file == "kernel_prepare.sh"
    assert set(kernel.ran().parameters) == ARTICLE | CILIUM | IPTABLES
    assert dev()["lxd-kernel-finalizer"].ran("command").file == "kernel_restore.sh"


def test_the_hosts_own_key_may_enter_the_nodes() -> None:
    assert dev()["lxd-ssh-key"].ran().file == "ssh_key.sh"
    assert HOST_PUBLIC_KEY in dev()["k3s1"].inputs["config"]["cloud-init.user-data"]


def test_it_gives_the_kernels_modules_and_the_hosts_key() -> None:
    assert dev().outputs_of("lxd") == {"kernelModules": "ip_vs,ip_vs_rr", "publicKey": HOST_PUBLIC_KEY}
