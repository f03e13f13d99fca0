"""GET /api/docs through the Worker: the page, its files and the document, as the server has them."""

from server.docs_page import FILES, FOLDER, PAGE
from tests.edge.stack import Local


def test_the_page_passes(local: Local) -> None:
    """The page and each of its files come as they are, under their policy; another name starts nothing and is 404."""
    get = local.edge.http.get
    paths = {"/api/docs": PAGE} | {f"/api/docs/{name}": name for name in FILES}
    for path, name in paths.items():
        answer = get(path)
        assert (answer.status_code, answer.content) == (200, (FOLDER / name).read_bytes())
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert "/api/docs" in get("/api/openapi.json").json()["paths"]
    assert get("/api/docs/docs.html").status_code == 404
