"""Tests of rdt_jax.training."""
