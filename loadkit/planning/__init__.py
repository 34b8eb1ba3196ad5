"""From what the sentences of a scenario say to the plan of a run."""
