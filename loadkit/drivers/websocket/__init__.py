"""The WebSocket driver: it reads whole data frames itself, and all others with `websockets`.

The modules:

- `client`: a journey calls it to connect and to reconnect; `websocket`: for calls after that.
- `handshake`: the settings of a new connection, the request, and the answer to it.
- `connection`: the data path of an open connection, and its end; `frames`: reads the bytes.
- `closing`: the cause of a connection's end; `keepalive`: pings and half-open connections.
- `alarms`: one timer for the pings and the deadlines of all connections.
- `subscription`: measures messages; `ledger` and `heads`: find missing messages.
- `record`: the counts of a connection; `driver`: the address and the sockets of a worker.
"""
