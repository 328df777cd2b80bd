"""What one run is: one file per named run, each with `get_config(preset)`."""
