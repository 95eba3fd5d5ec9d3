"""Runs in MLflow and their plots: the only importer of mlflow."""
