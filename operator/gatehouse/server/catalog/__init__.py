"""The model catalog: what is Ready to Deploy, read by the catalog's clients. Everything is read; nothing is written."""
