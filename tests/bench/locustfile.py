"""What the loadkit journey does, as Locust has it: ask, read the JSON, check it."""

import os

from locust import FastHttpUser, between, task


class Reader(FastHttpUser):
    """A user who pauses for LOW to HIGH seconds."""

    wait_time = between(float(os.environ["LOW"]), float(os.environ["HIGH"]))

    @task
    def read(self) -> None:
        """One request."""
        with self.client.get("/", catch_response=True) as answer:
            if answer.json()["id"] != 17:
                answer.failure("not seventeen")
