"""Environment files, the control command, the lock and the preflight."""
