"""What commands print, and the only way in which they do: styling is the program's own, and text is only text."""

from gatehouse.printing.printer import Part, Printer, print_trace, stderr, stdout

__all__ = ["Part", "Printer", "print_trace", "stderr", "stdout"]
