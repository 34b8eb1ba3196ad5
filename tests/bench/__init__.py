"""Speed, side by side: requests per CPU-second of loadkit and of what people use now, against one local nginx.

`python -m tests.bench` runs every tool in turn, several rounds, so that a machine whose speed drifts drifts for all.
Requests are counted by nginx; processor time by the kernel, over all of a tool's processes from their start to their
end; memory over all of them at one time, what they share once. No tool reports on itself.
"""
