"""Analyses of several runs: comparison of loads, calibration of the load generator."""
