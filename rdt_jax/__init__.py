"""Grokking and compositional generalization in recurrent-depth transformers."""

__version__ = "0.2.0"
