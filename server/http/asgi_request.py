"""One request to the ASGI application.

The request starts in its turn. If the drain deadline ends it, the log gets no traceback.
"""

import asyncio
import logging
from collections.abc import Hashable
from functools import partial
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.held_bytes import HELD, HeldBody
from server.http.request_context import fields
from server.http.request_turns import RequestTurns
from server.http.responses import asgi_response, envelope, failure
from server.http.trailers import BREAK_OFF, Cycle, Ends

_PATH_CHARACTERS: Final = 128
_REJECTED: Final = 429
_log = logging.getLogger("lifeboat.app")


async def run(  # noqa: PLR0913, PLR0917 # the arguments of ASGI, and more
    app: ASGIApp, cycle: Cycle, turns: RequestTurns, connection: Hashable, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call `app` for a request of `connection` in its turn.

    Do nothing if the client has disconnected by then. At the drain deadline, a request that waits for its turn gets
    503, and an incomplete response is cut off.
    """
    ends: Ends = scope["extensions"][BREAK_OFF]
    try:
        if await _begins(turns, connection, ends, scope, receive, send) and not cycle.disconnected:
            await app(scope, receive, _paced(turns, connection, cycle, send, ends))
    except asyncio.CancelledError:
        ends.cut_off()
        where = scope["path"][:_PATH_CHARACTERS]
        told = fields(scope["headers"])
        _log.warning("%s %s aborted: the server is stopping", scope["method"], where, extra={"fields": told})
    finally:
        held: HeldBody = scope[HELD]
        held.release()  # also for a request that never started


def _paced(turns: RequestTurns, connection: Hashable, cycle: Cycle, send: Send, ends: Ends) -> Send:
    """Return a `send` that starts its response in a turn.

    Many requests may have waited for the same work. After a rejection, the connection is read at the rejection pace.
    """
    began = turns.number
    is_rejected = False

    async def paced(message: Message) -> None:
        nonlocal is_rejected
        if message["type"] == "http.response.start":
            is_rejected = message["status"] == _REJECTED
            if turns.number != began and not cycle.disconnected:
                await turns.wait(connection, partial(_is_dropped, ends))
        await send(message)
        if is_rejected and message["type"] == "http.response.body" and not message.get("more_body", False):
            ends.slow_down()

    return paced


def _is_dropped(ends: Ends) -> bool:
    """Close the connection if the client has reset it. Return True if it is closed."""
    if not ends.is_reset():
        return False
    ends.cut_off()
    return True


async def _begins(  # noqa: PLR0913, PLR0917 # the arguments of ASGI, and more
    turns: RequestTurns, connection: Hashable, ends: Ends, scope: Scope, receive: Receive, send: Send
) -> bool:
    try:
        await turns.wait(connection, partial(_is_dropped, ends))
    except asyncio.CancelledError as error:
        await asgi_response(envelope(failure(error, scope["headers"])))(scope, receive, send)
        return False
    return True
