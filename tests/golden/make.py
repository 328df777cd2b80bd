"""Makes the golden files again; needs the extra `torch`.

python -m tests.golden.make
"""

import numpy as np

from tests.golden import FOLDER, make_act, make_gpt2, make_moeut


def main():
    for module in (make_gpt2, make_act, make_moeut):
        path = FOLDER / f"{module.__name__.rpartition('make_')[2]}.npz"
        np.savez_compressed(path, **module.make())
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
