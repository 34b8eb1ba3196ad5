"""One instance of the External Metrics Web Service."""
