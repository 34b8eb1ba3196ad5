"""The fault matrix: each fault of the local environment on its own, and which criteria it must flip."""
