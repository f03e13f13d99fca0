"""One exchange with the server: the interface of every kind of case, and the format of a recorded response."""

from dataclasses import dataclass
from typing import Final, Protocol

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""What a recording holds."""

TIMEOUT_S: Final = 60
"""Seconds without a byte after which an exchange fails."""
TOKEN: Final = "recorded-token"  # noqa: S105 # of servers that live as long as one recording


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


class Case(Protocol):
    """One exchange, with a name that no other case has."""

    @property
    def name(self) -> str:
        """Key of the response in a recording."""

    @property
    def interface(self) -> str:
        """Interface of the server that the case covers."""

    @property
    def server(self) -> str:
        """Name of the server's settings, a key of `settings.SERVERS`."""

    @property
    def request(self) -> str:
        """Method and path of the request, without its query."""

    def respond(self, address: Address) -> Json:
        """Send the request, and return what the server responds."""
