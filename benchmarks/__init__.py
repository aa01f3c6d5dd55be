"""zeotwisted and ZEO side by side: run ``python -m benchmarks``."""
