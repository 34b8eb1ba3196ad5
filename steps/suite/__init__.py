"""What ties behave to the load kit: session, runner, results and reports."""
