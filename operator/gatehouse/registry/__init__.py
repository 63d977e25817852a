"""The registry's rows in MariaDB, MySQL, PostgreSQL or SQLite: they outlive the objects they describe.

The way of a call: :mod:`~gatehouse.registry.pool` opens the database of a registry, and a method of
:mod:`~gatehouse.registry.rows` submits an operation. An operation is a value that has its SQL beside it, in
:mod:`~gatehouse.registry.versions`, :mod:`~gatehouse.registry.models`, :mod:`~gatehouse.registry.live_rows` or
:mod:`~gatehouse.registry.audit`. :mod:`~gatehouse.registry.batcher` makes batches of the operations that meet, and
:mod:`~gatehouse.registry.database` runs each batch in the database's one thread, with all retries.

Commands never write: they read a snapshot by :mod:`~gatehouse.registry.readers`. Each module imports only modules below
it; a contract in ``pyproject.toml`` lists the layers.
"""
