"""The commands of ``gatehouse`` that run a local cluster; ``gatehouse.cli.local_package`` names them."""
