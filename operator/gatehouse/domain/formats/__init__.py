"""The file formats of weights: each module reads one format from a prefix of the file, within bounds."""
