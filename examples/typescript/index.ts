import * as pulumi from "@pulumi/pulumi";
import * as ciliumBgp from "@pulumi/cilium-bgp";

const config = new pulumi.Config();
const ssh = {
    host: config.require("host"),
    port: config.getNumber("port"),
    hostKey: config.require("hostKey"),
    privateKey: config.requireSecret("privateKey"),
};
const peers = { peer1: "10.99.0.11", peer2: "10.99.0.12" };

const topology = new ciliumBgp.LxdTopology("topology", {
    ...ssh,
    bridge: "peers0",
    bridgeAddress: "10.99.0.1/24",
    dhcpRange: "10.99.0.100-10.99.0.199",
    authorizedKeys: [config.require("publicKey")],
    instances: { peer1: { address: peers.peer1 }, peer2: { address: peers.peer2 } },
});

const router = new ciliumBgp.BgpRouter("router", {
    ...ssh,
    bridge: topology.bridge,
    address: "10.99.0.1",
    asn: 64512,
    nodeAsn: 64513,
    nodes: Object.values(peers),
    pool: "10.99.1.0/24",
});

export const instances = topology.instances;
export const peerAddress = router.peerAddress;
export const password = router.password;
