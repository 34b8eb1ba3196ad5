"""The reference environment: a small External Metrics Web Service on one machine."""
