"""Drivers send operations to the service: a narrow interface and its implementations."""
