"""What the loadkit journey does, as Locust has it with websocket-client: it has no WebSocket of its own."""

import json
import time

from locust import User, task
from websocket import WebSocketTimeoutException, create_connection


class Follower(User):
    """A connection; each message is an event of Locust's statistics."""

    following = 0

    @task
    def follow(self) -> None:
        """Receive messages until the load ends."""
        ws = create_connection(self.host.replace("http", "ws", 1) + "/", timeout=1)
        while True:
            try:
                text = ws.recv()
            except WebSocketTimeoutException:
                continue
            now = time.time()
            event = json.loads(text)
            lost = self.following and event["sequence"] - self.following
            self.following = event["sequence"] + 1
            self.environment.events.request.fire(
                request_type="WS",
                name="/",
                response_time=(now - event["created"]) * 1000,
                response_length=len(text),
                exception=ValueError(f"{lost} lost") if lost else None,
                context={},
            )
