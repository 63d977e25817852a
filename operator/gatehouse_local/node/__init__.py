"""A Kubernetes node on this machine: containerd, kubelet, kube-proxy and CoreDNS. Linux, root.

The node lives in a mount and a network namespace of its own, and its processes in a cgroup of their own. So nothing
of it shows in the machine's mounts, firewall or sysctls, and ending it is exact: when the last process of the cgroup
has ended, the kernel drops the namespaces with every mount, interface and iptables rule in them. All that the machine
sees is one interface, `gh0`, with an address and two routes, and it goes with the namespace.
"""
