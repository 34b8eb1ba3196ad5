"""Virtual users: their accounts, journeys, pacing and operations."""
