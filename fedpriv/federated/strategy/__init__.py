"""Server strategies: one file each; adding one costs that file and one YAML."""
