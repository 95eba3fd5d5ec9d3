"""The federation on Flower's Message API: the only importer of flwr."""
