"""The HTTP driver: the load kit's own client, its cookies and headers, and httpx for what it cannot do."""
