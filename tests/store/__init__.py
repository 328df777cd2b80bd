"""Tests of rdt_jax.store."""
