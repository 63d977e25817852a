module gatehouse.dev/hack/controlplane/rbac-proxy

go 1.26.0
