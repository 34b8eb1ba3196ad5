"""How operations reach the service: one narrow seam, and what stands behind it."""
