"""A run and its verdicts for people and for scripts: tables, charts, the gate, the trace."""
