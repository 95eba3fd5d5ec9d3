"""What epsilon costs on gaze and emotion: a table and a plot from the runs of ``+experiment=utility_*``."""
