"""Makes the plan of a run from the sentences of a scenario."""
