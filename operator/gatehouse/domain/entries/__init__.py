"""Entries: what the registry's REST clients write and read, recorded or governed.

An entry that no Kubernetes object stands for is only recorded: Gatehouse keeps the entry word for word and never makes
the entry ready, cleared or admitted.
"""
