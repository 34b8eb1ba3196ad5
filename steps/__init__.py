"""The sentences as behave's steps, the journeys, and what ties behave to the load kit."""
