"""The REST server: who asks, what they may read, and the answers of each family of routes.

Handlers only bind: they take values from a request, call :mod:`gatehouse.actions` or the rows, and return values.
"""
