"""Values of independent designs in PyTorch, and the scripts that make them.

The tests read the .npz files of this folder and need no PyTorch.
"""

import pathlib

FOLDER = pathlib.Path(__file__).parent
