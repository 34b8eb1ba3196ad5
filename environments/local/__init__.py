"""The reference environment: a small External Metrics Web Service with real parts, on one machine."""
