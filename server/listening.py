"""uvicorn's server, which says when its port is open."""

import uvicorn

from server.start import Start


class Listening(uvicorn.Server):
    """Serves, and tells `start` that it does."""

    def __init__(self, config: uvicorn.Config, start: Start) -> None:
        """Serve as `config` says."""
        super().__init__(config)
        self._start = start

    async def main_loop(self) -> None:
        """Live until the server is to end; uvicorn calls this once the port is open."""
        self._start.ready()
        await super().main_loop()
