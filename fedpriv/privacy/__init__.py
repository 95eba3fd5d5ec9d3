"""Plans, mechanisms and accounting of differential privacy; the only importer of opacus."""
