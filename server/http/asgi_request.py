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
from server.http.trailers import BREAK_OFF, Cycle, RequestControls

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
    controls: RequestControls = scope["extensions"][BREAK_OFF]
    try:
        if await _wait_for_turn(turns, connection, controls, scope, receive, send) and not cycle.disconnected:
            await app(scope, receive, _paced_send(turns, connection, cycle, send, controls))
    except asyncio.CancelledError:
        controls.cut_off()
        path = scope["path"][:_PATH_CHARACTERS]
        log_fields = fields(scope["headers"])
        _log.warning("%s %s aborted: the server is stopping", scope["method"], path, extra={"fields": log_fields})
    finally:
        held: HeldBody = scope[HELD]
        held.release()  # also for a request that never started


def _paced_send(turns: RequestTurns, connection: Hashable, cycle: Cycle, send: Send, controls: RequestControls) -> Send:
    """Return a `send` that starts its response in a turn.

    Many requests may have waited for the same work. After a rejection, the connection is read at the rejection pace.
    """
    start_turn = turns.number
    is_rejected = False

    async def send_in_turn(message: Message) -> None:
        nonlocal is_rejected
        if message["type"] == "http.response.start":
            is_rejected = message["status"] == _REJECTED
            if turns.number != start_turn and not cycle.disconnected:
                await turns.wait(connection, partial(_is_dropped, controls))
        await send(message)
        if is_rejected and message["type"] == "http.response.body" and not message.get("more_body", False):
            controls.slow_down()

    return send_in_turn


def _is_dropped(controls: RequestControls) -> bool:
    """Close the connection if the client has reset it. Return True if it is closed."""
    if not controls.is_reset():
        return False
    controls.cut_off()
    return True


async def _wait_for_turn(  # noqa: PLR0913, PLR0917 # the arguments of ASGI, and more
    turns: RequestTurns, connection: Hashable, controls: RequestControls, scope: Scope, receive: Receive, send: Send
) -> bool:
    try:
        await turns.wait(connection, partial(_is_dropped, controls))
    except asyncio.CancelledError as error:
        await asgi_response(envelope(failure(error, scope["headers"])))(scope, receive, send)
        return False
    return True
