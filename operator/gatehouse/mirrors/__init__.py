"""The client of a Kubeflow Model Registry that gets copies of entries. It writes, and reads nothing but ids."""
