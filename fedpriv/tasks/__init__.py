"""Tasks bind a dataset, a model, a loss and a metric; one file each."""
