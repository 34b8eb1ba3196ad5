"""The network between the service and the users of a region: a relay that delays their bytes."""
