"""What Gatehouse knows of each kind of object store, as values: the scheme of its URIs, its names, its connections.

A store is one module here and one line in :mod:`gatehouse.storage.providers.table`. The modules read nothing and import
no client library, because the kinds and the domain use them. A provider names its clients, which live beside this
package, and :mod:`gatehouse.storage.stores` imports them.
"""
