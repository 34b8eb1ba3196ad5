"""The networks between the service and users of regions: a relay that delays their bytes."""
