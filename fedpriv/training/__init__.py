"""One client's optimisation loop; knows nothing of Flower."""
