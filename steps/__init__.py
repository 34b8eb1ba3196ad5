"""The sentences as steps of behave, the journeys, and the integration of behave with the load kit."""
