"""URL paths that several packages share: the paths of models, and the test for an RPC path.

The Worker has the same table in `worker/http/routes.ts`; tests/contract/test_worker_routes.py compares both.
"""

from typing import Final

API_ROOT: Final = "/api"
API_MODEL: Final = "/api/models/{model}"
V2_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = "/versions/{version}"
_LABEL: Final = "/labels/{label}"

API_MODEL_VERSIONS: Final = (API_MODEL, API_MODEL + _VERSION, API_MODEL + _LABEL)
"""Path templates of a model, of one of its versions, and of a label."""
API_MODEL_ROOTS: Final = (API_ROOT, *API_MODEL_VERSIONS)
"""The same, and the path of the default model."""
V2_MODEL_VERSIONS: Final = (V2_MODEL, V2_MODEL + _VERSION)
"""Path templates of the Open Inference Protocol: a model, and one of its versions."""


def is_call(path: str) -> bool:
    """Return True if a path is an RPC path.

    An RPC path has a service, whose name includes its package, and a method.
    """
    service, _, method = path[1:].partition("/")
    return "." in service and bool(method) and "/" not in method
