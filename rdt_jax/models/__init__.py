"""Pure-functional models: (params, tokens) -> outputs, over flax linen layers.

Shapes, used throughout the package:
  B  batch                 T  tokens            V  vocabulary
  D  model width           H  heads             K  head width (D = H * K)
  F  feed-forward width    L  blocks per stage  R  loops
  A  answers in a row      N  rows of a table   S  lanes of a pack
"""
