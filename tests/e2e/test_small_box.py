"""Tests of the image with the platform's smallest limits under attack."""

import json

from tests.box.siege import besiege
from tests.e2e.docker import BASIC, docker, running, wait_healthy


def test_attacks_on_the_image(image: str) -> None:
    """Under attack the container lives, serves good clients, and returns its memory within 20 MB."""
    options = ("--env", "LIFEBOAT_HTTP2=1", "--env", "LIFEBOAT_LOG_LEVEL=error", "--publish", "127.0.0.1::8080")
    with running(image, *BASIC, *options) as container:
        wait_healthy(container)
        state = json.loads(docker("inspect", container))[0]
        (port,) = {each["HostPort"] for each in state["NetworkSettings"]["Ports"]["8080/tcp"]}
        besiege(("127.0.0.1", int(port)), state["State"]["Pid"])
        assert json.loads(docker("inspect", container))[0]["State"]["OOMKilled"] is False
