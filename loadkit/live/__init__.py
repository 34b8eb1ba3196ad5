"""The live status of a run."""
