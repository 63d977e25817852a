"""The registry's rows in MariaDB, MySQL, PostgreSQL or SQLite. The rows outlive the objects that they describe.

The path of a call: :mod:`~gatehouse.registry.pool` opens the database of a registry, and a method of
:mod:`~gatehouse.registry.rows` submits an operation. An operation is a value with its SQL beside it, in
:mod:`~gatehouse.registry.versions`, :mod:`~gatehouse.registry.models`, :mod:`~gatehouse.registry.live_rows` or
:mod:`~gatehouse.registry.audit`. For REST clients, :mod:`~gatehouse.registry.entries` submits the operations of
:mod:`~gatehouse.registry.entry_pages`, :mod:`~gatehouse.registry.entry_creations` and
:mod:`~gatehouse.registry.entry_updates`.
:mod:`~gatehouse.registry.batcher` joins concurrent operations into batches, and :mod:`~gatehouse.registry.database`
runs each batch in the database's one thread, with all retries.

Commands never write: they read a snapshot through :mod:`~gatehouse.registry.readers`. Each module imports only modules
of lower layers; a contract in ``pyproject.toml`` lists the layers.
"""
