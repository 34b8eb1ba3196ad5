"""What several runs say together: comparison of loads, calibration of the generator."""
