"""The WebSocket driver: whole data frames are read from the receive buffer, the rest by `websockets`."""
