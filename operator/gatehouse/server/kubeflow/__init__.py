"""The REST contract of the Kubeflow Model Registry, versions v1alpha3 and v1.

`resources` declares the entries with their members, `operations` the paths. Bodies are read, answers written and the
OpenAPI documents rendered from these two tables; `errors` has the one form of a refusal.
"""
