"""GET /api/models/{model}/drift: report the drift of a version from its training data.

The drift is measured on the inputs and on the predictions. This module is imported on the first request for a report,
to keep startup fast.
"""

from starlette.requests import Request
from starlette.responses import Response

from server.errors import InvalidArgument
from server.http.responses import json_response
from server.inference.drift.monitor import ROW_SOURCES, RowSource
from server.inference.drift.psi import report
from server.inference.runner import Runners
from server.models.quoting import field_name, quoted, quoted_name
from server.models.repository import Repository


def respond(request: Request, repository: Repository, runners: Runners) -> Response:
    """Return the drift report of a version.

    The report covers the rows of requests, or the rows of files if the query has `of=files`.

    Raises InvalidArgument for any other query, NotFound, and Unimplemented if drift is not monitored.
    """
    source: RowSource = "requests"
    for name, value in request.query_params.multi_items():
        if name != "of" or value not in ROW_SOURCES:
            message = f"expected of={' or of='.join(ROW_SOURCES)}; got {quoted(f'{name}={value}')}"
            raise InvalidArgument(f"{quoted_name(name)}: {message}", field=field_name(name))
        source = value
    path_params = request.path_params
    model = repository.resolve(path_params["model"], path_params.get("version"), path_params.get("label"))
    return json_response(report(model, runners[model].drift, source))
