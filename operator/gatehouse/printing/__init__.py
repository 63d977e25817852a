"""The output of commands. Only the program chooses styles; text of other people stays plain text."""

from gatehouse.printing.printer import Part, Printer, print_trace, stderr, stdout

__all__ = ["Part", "Printer", "print_trace", "stderr", "stdout"]
