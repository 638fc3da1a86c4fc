"""Benchmarks: every figure in the docs is printed by a module of this package."""
