"""The load kit: puts load on a service, measures it, and judges what was promised of it.

It knows nothing of behave, of Allure, or of the service under test. Layers, each importing only downward
(a test holds it so):

- values: clock, buckets, slices, workload, criterion, observation, record, verdict, errors
- pure: arrival, gaps, roster, phrases (text to values), statistics, steady, judge
- seams: drivers, observers, environment
- engine: journey, user, crowd and stream (closed and open load), recorder, worker, line, run
- outside: archive, report, cli
"""
