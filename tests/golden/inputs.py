"""What all golden files share: rows of tokens, padded at the end, and their mask."""

import numpy as np

VOCAB, BATCH, LENGTH = 17, 4, 11
PADDED = 7  # Rows have LENGTH tokens, PADDED tokens, and so on by turns.


def tokens() -> np.ndarray:
    """Returns int32 [B, T]; 0 is padding."""
    drawn = np.random.default_rng(0).integers(1, VOCAB, (BATCH, LENGTH))
    drawn[1::2, PADDED:] = 0
    return drawn.astype(np.int32)


def draw(shapes, seed: int) -> dict[str, np.ndarray]:
    """Draws float32 weights that leave no number of a model at rest.

    Args:
      shapes: name -> shape; names with `norm` and `scale` are drawn around 1.
      seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        # Variance 1 / inputs; vectors and tables get a tenth of one.
        std = shape[-2] ** -0.5 if len(shape) > 1 else 0.3
        drawn = std * rng.standard_normal(shape) + name.endswith("norm_scale")
        found[name] = drawn.astype(np.float32)
    return found
