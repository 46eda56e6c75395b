module cilium-bgp/lab/standins

go 1.24
