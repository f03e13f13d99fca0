"""The image in the platform's smallest size: attacks of every kind beside good clients."""

import json

from tests.box.siege import besiege
from tests.e2e.docker import BASIC, docker, running, wait_healthy


def test_attacks_on_the_image(image: str) -> None:
    """The container lives, good clients are answered meanwhile, and the memory comes back within 20 MB."""
    options = ("--env", "LIFEBOAT_HTTP2=1", "--env", "LIFEBOAT_LOG_LEVEL=error", "--publish", "127.0.0.1::8080")
    with running(image, *BASIC, *options) as container:
        wait_healthy(container)
        state = json.loads(docker("inspect", container))[0]
        (port,) = {each["HostPort"] for each in state["NetworkSettings"]["Ports"]["8080/tcp"]}
        besiege(("127.0.0.1", int(port)), state["State"]["Pid"])
        assert json.loads(docker("inspect", container))[0]["State"]["OOMKilled"] is False
