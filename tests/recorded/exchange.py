"""One exchange with the server: the interface of all cases, and recorded types."""

from dataclasses import dataclass
from typing import Final, Protocol

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""Types in a recording."""

TIMEOUT_S: Final = 60
"""Seconds without a byte after which an exchange fails."""
TOKEN: Final = "recorded-token"  # noqa: S105 # used only by servers that live as long as one recording


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of a server."""

    host: str
    port: int


class Case(Protocol):
    """One exchange with a unique name."""

    @property
    def name(self) -> str:
        """Key of the response in a recording."""

    @property
    def interface(self) -> str:
        """Server interface that the case covers."""

    @property
    def server(self) -> str:
        """Name of the server's settings, a key of `settings.SERVERS`."""

    @property
    def request(self) -> str:
        """Method and path of the request, without its query."""

    def respond(self, address: Address) -> Json:
        """Send the request, and return the server's response."""
