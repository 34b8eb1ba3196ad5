"""Reports on a run and its verdicts, for people and for scripts: tables, charts, gate, trace."""
