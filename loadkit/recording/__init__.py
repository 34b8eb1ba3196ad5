"""Records samples, aggregates them into slices, and reads and writes runs on disk."""
