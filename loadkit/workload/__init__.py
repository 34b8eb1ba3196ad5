"""What load is put on, and when each operation is due."""
