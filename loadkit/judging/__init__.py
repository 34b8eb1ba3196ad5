"""From evidence to a verdict: families of criteria, statistics, circumstances."""
