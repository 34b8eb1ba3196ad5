"""The environments that the suite can run against."""
