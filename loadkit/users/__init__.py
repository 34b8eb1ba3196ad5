"""Virtual users: who they are, when they act, and what an operation of theirs is."""
