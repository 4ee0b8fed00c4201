"""Benchmarks against peers and floors, run by ``python -m tests.benchmarks``; not part of the tests."""
