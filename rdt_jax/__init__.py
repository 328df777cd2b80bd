"""Grokking and compositional generalization in recurrent-depth transformers."""

__version__ = "0.1.0"
