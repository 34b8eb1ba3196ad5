"""The WebSocket driver: whole data frames are read from the receive buffer, the rest by `websockets`.

Where to look:

- `client`: what a journey calls to connect and to come back; `websocket`: what it calls after that.
- `handshake`: what a connection is opened with, the request, and the answer to it.
- `connection`: the data path of an open connection, and its end; `frames`: reads the bytes.
- `closing`: what ended a connection; `keepalive`: pings and half-open connections.
- `alarms`: one timer for the pings and the waiting of all connections.
- `subscription`: measures messages; `ledger` and `heads`: which of them are missing.
- `record`: what is counted of a connection; `driver`: the address and the sockets of a worker.
"""
