"""The upgrade of a request to a WebSocket connection."""

from environments.local.service.endpoint import ApiError, Call, Reply
from environments.local.service.websocket import WebSocket


def upgrade(call: Call, websocket: WebSocket) -> Reply:
    """Answer a handshake; the connection then belongs to `websocket`. Raises ApiError."""
    context = call.context
    refusal = context.connections.refusal
    if refusal is None and not context.broadcast.is_live:
        refusal = "the streams are unavailable"
    if refusal is not None:
        raise ApiError(503, refusal)
    status, headers, reason = websocket.answer(call.headers)
    if status != 101:
        raise ApiError(status, reason)
    encoded = tuple((name.lower().encode(), value.encode()) for name, value in headers)
    return Reply(b"", 101, encoded, switch_to=websocket)
