"""From a sample to a run on disk, and back."""
