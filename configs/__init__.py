"""What one run is: a file per task or model, with presets.

`smoke` takes seconds: it goes the whole path and is no science; `cpu` takes minutes.
The first lines of each file say how to start it, what `cpu` came to, and what its other
presets are.

    rdt train --config=configs/modular.py:cpu --workdir=runs
"""
