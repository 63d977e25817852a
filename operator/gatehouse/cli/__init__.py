"""The ``gatehouse`` command, which is also ``kubectl gatehouse``."""
