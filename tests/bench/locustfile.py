"""What the loadkit journey does, as Locust has it: ask, read the JSON, check it."""

from locust import FastHttpUser, constant, task


class Reader(FastHttpUser):
    """A user without pauses."""

    wait_time = constant(0)

    @task
    def read(self) -> None:
        """One request."""
        with self.client.get("/", catch_response=True) as answer:
            if answer.json()["id"] != 17:
                answer.failure("not seventeen")
