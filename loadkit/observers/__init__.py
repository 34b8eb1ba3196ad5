"""Where figures of the service come from, other than from the load itself."""
