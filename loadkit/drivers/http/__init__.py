"""The HTTP driver: the load kit's own client, and httpx for features that it lacks."""
