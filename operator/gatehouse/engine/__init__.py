"""The engine: informer, cache, workqueue, leader, health and metrics. It knows no model.

It is to Gatehouse what controller-runtime is to a Go operator: `Manager` keeps caches of the watched
kinds, and for each key that a change calls for runs a reconcile, at most once at a time, with backoff.
"""
