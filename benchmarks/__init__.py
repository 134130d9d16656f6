"""Each program measures sgdlib against a named peer in one run; `python -m benchmarks` runs all."""
