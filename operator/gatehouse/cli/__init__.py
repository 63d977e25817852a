"""The commands: options and printing.

A command imports the code that does its work when it runs: help and completion read the options of a command only. No
command imports another command.
"""
