"""What is asked: benchmarks, training sets, the pinned files they come from, and their encoding."""
