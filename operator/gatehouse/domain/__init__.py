"""Pure code: data in, data out. No I/O, no clock, no client library."""
