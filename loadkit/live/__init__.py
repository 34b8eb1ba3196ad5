"""How a run goes while it is going on."""
