"""Workloads and plans, and when each operation is due."""
