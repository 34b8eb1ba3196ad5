"""The sentences as behave steps, the journeys, and the integration of behave with the load kit."""
