"""Evidence of a version for auditors: gathered, written to one file, sealed, and verified offline."""
