"""Benchmarks of harpoon-scheduler on simulated fleets: `python -m bench`. See docs/performance.md."""
