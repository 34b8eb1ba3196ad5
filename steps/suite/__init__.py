"""The integration of behave with the load kit: session, runner, results and reports."""
