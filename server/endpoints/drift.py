"""GET /api/models/{model}/drift: how far what a version was asked, and answered, is from what it was trained on.

Imported when it is first asked for: no start pays for it.
"""

from starlette.requests import Request
from starlette.responses import Response

from server.drift import OF, Of
from server.errors import InvalidArgument
from server.repository import Repository
from server.responses import json_response
from server.runner import Runners
from server.stability import report


def answer(request: Request, repository: Repository, runners: Runners) -> Response:
    """Answer for the version that is named, by its rows of requests, or of files where the query says `of=files`.

    Raises InvalidArgument for another query, NotFound, Unimplemented where nothing is watched.
    """
    of: Of = "requests"
    for name, value in request.query_params.multi_items():
        if name != "of" or value not in OF:
            got = f"{name[:40]}={value[:40]}"
            raise InvalidArgument(f"{name[:40]}: expected of={' or of='.join(OF)}; got {got!r}", field=name[:40])
        of = value
    where = request.path_params
    model = repository.resolve(where["model"], where.get("version"), where.get("label"))
    return json_response(report(model, runners[model].drift, of))
