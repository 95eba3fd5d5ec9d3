"""The dataset command line over ``fedpriv.formats``."""
