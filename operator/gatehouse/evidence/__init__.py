"""Evidence of a version for people who were not there: gathered, written down, sealed, and verified offline."""
