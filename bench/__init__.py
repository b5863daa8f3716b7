"""Benchmarks: whole commands on real servers, never timed assertions in tests. docs/performance.md has the figures."""
