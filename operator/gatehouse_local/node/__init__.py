"""A Kubernetes node on this machine: containerd, kubelet, kube-proxy and CoreDNS. Linux, root.

The node has its own mount and network namespaces, and its processes have their own cgroup. The node therefore changes
no mount, firewall rule or sysctl of the machine, and its removal is complete. When the last process of the cgroup ends,
the kernel removes the namespaces with every mount, interface and iptables rule in them. The machine has only one
interface, `gh0`, with an address and two routes, which the kernel removes with the namespace.
"""
