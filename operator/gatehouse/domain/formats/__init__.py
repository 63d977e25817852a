"""The formats of weights: each module of a format has its protocol value, and the table of formats has all of them.

Imports go from the table to the formats, from these to the protocol and the parsers, and from all to the names.
"""
