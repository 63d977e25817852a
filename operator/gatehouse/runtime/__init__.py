"""The engine of the operator: informer, cache, workqueue, leader, health and metrics. It knows no kind of Gatehouse."""
