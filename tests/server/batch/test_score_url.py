"""`python -m server score --url`: a service scores a file in parts, with retries."""

import email.utils
import gzip
import json
import shutil
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.server.support import small
from tests.server.support.between import Act, Between, Cut, Refuse
from tests.server.support.process import serving
from tests.server.support.score import (
    FORMS,
    PAIRS,
    as_csv,
    as_ndjson,
    held,
    left,
    long,
    notes,
    read,
    refused,
    rows,
    score,
    scored,
)

PARTS = 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file of five parts."""
    path = tmp_path / "in.csv"
    path.write_bytes(long(5000))
    return path


def _whole(source: Path, *options: str) -> bytes:
    """Return the output of one local run over the whole file."""
    scored(source, source.with_name("whole.csv"), *options)
    return source.with_name("whole.csv").read_bytes()


def _to(between: Between | httpx.Client, *more: str) -> list[str]:
    """Return the options for a service: parts of 1,000 rows, no waits."""
    url = between.url if isinstance(between, Between) else str(between.base_url)
    return ["--url", url, "--part-rows", "1000", "--retry-wait", "0", *more]


@pytest.mark.parametrize(("given", "form"), PAIRS)
def test_a_service_scores_as_this_does(server: httpx.Client, tmp_path: Path, given: str, form: str) -> None:
    """A service's output equals a local run's, for all formats."""
    source, out, whole = tmp_path / f"in.{given}", tmp_path / f"out.{form}", tmp_path / f"whole.{form}"
    source.write_bytes(FORMS[given][1](rows(2500)))
    said = scored(source, out, *_to(server))
    assert said == f"score: 2,500 rows read, 2,500 scored, 0 failed (titanic version 1): {out}\n"
    scored(source, whole)
    assert read(out) == read(whole)
    if form in {"arrow", "parquet"}:
        assert notes(out) == notes(whole) == {"read": 2500, "scored": 2500, "failed": 0}
    else:
        assert out.read_bytes() == whole.read_bytes()
    assert left(tmp_path) == {source.name, out.name, whole.name}


def test_names_that_say_the_form(server: httpx.Client, source: Path) -> None:
    """Output names and folders mean the same with a service as in a local run."""
    folder = source.parent
    for name in ("out.tsv", "out.csv.gz", "out"):
        scored(source, folder / name, *_to(server))
    scored(source, folder / "here.tsv")
    scored(source, folder / "here")
    assert (folder / "out.tsv").read_bytes() == (folder / "here.tsv").read_bytes()
    assert (folder / "out").read_bytes() == (folder / "here").read_bytes()
    assert gzip.decompress((folder / "out.csv.gz").read_bytes()) == (folder / "here").read_bytes()
    scored(source, f"{folder}/parts/", *_to(server))
    assert len(left(folder / "parts")) == PARTS + 1


@pytest.mark.parametrize(
    "act",
    [
        Refuse(503, (("retry-after", "0"),), b'{"error": "no instance", "code": "unavailable"}'),
        Refuse(429, (("retry-after", email.utils.formatdate(0, usegmt=True)),)),
        Refuse(500),
        Refuse(502, (), b"<html>bad gateway</html>"),
        Refuse(522),
        Cut(None),
        Cut(0),
        Cut(10),
        Cut(400_000),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_what_fails_in_passing_is_tried_again(server: httpx.Client, source: Path, form: str, act: Act) -> None:
    """A busy service or a broken connection costs only one more try of that part."""
    out = source.with_name(f"out.{form}")
    with Between(server, None, act, act) as between:
        said = scored(source, out, *_to(between))
    assert len(between.asked) == PARTS + 2
    assert len({each.body for each in between.asked}) == PARTS
    assert said.count("score: rows 1,001 to 2,000: 127.0.0.1:") == 2
    assert said.count("; retrying in 0 s") == 2
    scored(source, source.with_name(f"whole.{form}"))
    assert read(out) == read(source.with_name(f"whole.{form}"))


def test_how_long_it_waits(server: httpx.Client, source: Path) -> None:
    """The wait doubles with each try, unless the service sets Retry-After; --quiet prints no waits."""
    acts = (Refuse(503), Refuse(503), Refuse(503, (("retry-after", "0"),)), Refuse(503, (("retry-after", "1"),)))
    with Between(server, *acts) as between:
        asked = ("--url", between.url, "--retry-wait", "0.001")
        said = scored(source, source.with_name("out.csv"), *asked)
    waits = [line.rpartition(" in ")[2] for line in said.splitlines()[:-1]]
    assert waits == ["0.001 s", "0.002 s", "0 s", "1 s"]
    with Between(server, Refuse(503)) as between:
        said = scored(source, source.with_name("out.csv"), *_to(between, "--quiet"))
    assert len(said.splitlines()) == 1


def test_it_gives_up_and_goes_on(server: httpx.Client, source: Path) -> None:
    """After its tries the command ends with the service's error, and can be resumed."""
    out = source.with_name("out.csv")
    busy = Refuse(503, (), b'{"error": "the server is stopping; try again", "code": "unavailable"}')
    with Between(server, None, None, *[busy] * 3) as between:
        asked: list[str | Path] = [source, out, *_to(between, "--tries", "3")]
        said = refused(*asked)
        host = between.url.removeprefix("http://")
        words = "the server is stopping; try again (3 attempts); run the command again to resume"
        assert said == f"score: rows 2,001 to 3,000: {host}: {words}"
        assert left(source.parent) == {"in.csv", "out.csv.parts"}
        scored(*asked)
    assert len(between.asked) == 2 + 3 + 3
    assert left(source.parent) == {"in.csv", "out.csv"}
    assert out.read_bytes() == _whole(source)


def test_a_service_that_is_started_anew(source: Path) -> None:
    """If the server is replaced in the middle, each part is still scored once."""
    out = source.with_name("out.csv")
    with ExitStack() as servers:
        between = servers.enter_context(Between(servers.enter_context(serving())))

        def restart() -> None:
            between.upstream = servers.enter_context(serving())

        between.acts += [None, None, Cut(None), restart]
        scored(source, out, *_to(between))
    assert len(between.asked) == PARTS + 1
    assert out.read_bytes() == _whole(source)


def test_killed_while_the_parts_are_put_together(server: httpx.Client, source: Path) -> None:
    """A run killed while it joins the parts is resumed without any request."""
    out = source.with_name("out.csv")
    with Between(server) as between:
        asked: list[str | Path] = [source, out, *_to(between)]
        with held(*asked, at=out):
            assert len(between.asked) == PARTS
        assert left(source.parent) == {"in.csv", "out.csv.parts"}
        scored(*asked)
    assert len(between.asked) == PARTS
    assert left(source.parent) == {"in.csv", "out.csv"}
    assert out.read_bytes() == _whole(source)


def test_killed_while_the_parts_are_removed(server: httpx.Client, source: Path) -> None:
    """A run killed while it removes joined parts is resumed without any request."""
    out, folder = source.with_name("out.csv"), source.with_name("out.csv.parts")
    with Between(server) as between:
        asked: list[str | Path] = [source, out, *_to(between)]
        with held(*asked, at=out):
            pass
        kept = shutil.copytree(folder, source.with_name("kept"))
        said = scored(*asked)
        when = out.stat().st_mtime_ns
        shutil.move(kept, folder)
        state = json.loads((folder / "job.json").read_text())
        (folder / "job.json").write_text(json.dumps(state | {"joined": True}))
        (folder / "part-00000.csv").unlink()
        assert scored(*asked) == said
        assert len(between.asked) == PARTS
        assert (left(source.parent), out.stat().st_mtime_ns) == ({"in.csv", "out.csv"}, when)


def test_a_full_disk(server: httpx.Client, source: Path) -> None:
    """A response that can't be written to disk is reported once, without retries."""
    out, folder = source.with_name("out.csv"), source.with_name("out.csv.parts")
    folder.mkdir()
    (folder / ".part-00001.csv.unfinished").symlink_to("/dev/full")
    with Between(server) as between:
        said = refused(source, out, *_to(between))
    assert said == f"score: {folder}/part-00001.csv: No space left on device"
    assert len(between.asked) == 2


def test_lines_of_json_that_differ(server: httpx.Client, tmp_path: Path) -> None:
    """Parts with different columns are rejected as one table, but joined as NDJSON."""
    source = tmp_path / "in.ndjson"
    source.write_bytes(as_ndjson([{**row, f"field{place // 10}": 1} for place, row in enumerate(rows(20))]))
    for form in ("csv", "arrow", "parquet"):
        out = tmp_path / f"out.{form}"
        said = refused(source, out, "--part-rows", "10", "--url", str(server.base_url))
        assert f"{out}.parts/part-00001.{form}: its columns differ from the first part's" in said
        assert not out.exists()
    scored(source, tmp_path / "out.ndjson", "--part-rows", "10", "--url", str(server.base_url))
    assert [row[f"field{place // 10}"] for place, row in enumerate(read(tmp_path / "out.ndjson"))] == [1] * 20


def test_nobody_there(source: Path) -> None:
    """A failed connection attempt is retried, because the service may be starting."""
    with Between(None) as between:
        pass
    said = score(source, source.with_name("out.csv"), *_to(between, "--tries", "2")).stderr.decode()
    assert said.count("Connection refused; retrying") == 1
    assert "Connection refused (2 attempts); run" in said
    assert left(source.parent) == {"in.csv"}


@pytest.mark.parametrize("form", ["csv", "ndjson", "arrow", "parquet"])
@pytest.mark.parametrize("row", [4, 4502, 8990])
def test_a_wrong_row(server: httpx.Client, tmp_path: Path, form: str, row: int) -> None:
    """An invalid row is reported with its number in the file; its part isn't retried."""
    source = tmp_path / "in.csv"
    source.write_bytes(as_csv(rows(9000, age=row)))
    with Between(server) as between:
        asked = ("--url", between.url, "--part-rows", "4500", "--retry-wait", "0", "--to", form)
        said = refused(source, tmp_path / "out", *asked)
    assert said == f"score: {source}: row {row}: age: expected a number from 0 to 120 or null; got -3"
    assert len(between.asked) == 1 + (row > 4500)


def test_a_wrong_row_far_behind(tmp_path: Path) -> None:
    """An invalid row late in a part is reported for Parquet output too.

    An aborted Parquet response has no error text.
    """
    small.double(tmp_path / "models")
    source = tmp_path / "in.csv"
    source.write_text("x\n" + "".join([f"{place}.25\n" for place in range(149_999)]) + "no number\n")
    with serving(LIFEBOAT_MODELS=str(tmp_path / "models")) as server, Between(server) as between:
        asked = ("--url", between.url, "--part-rows", "200000", "--retry-wait", "0")
        said = refused(source, tmp_path / "out.parquet", *asked)
    assert said.startswith(f"score: {source}: row 150000: x: expected a finite number")
    assert len(between.asked) == 1


def test_other_options(server: httpx.Client, tmp_path: Path) -> None:
    """Columns, delimiter and on_error are passed to the service."""
    source = tmp_path / "in.csv"
    source.write_bytes(as_csv(rows(2500, age=2001), "~"))
    for options in (["--on-error", "null"], ["--on-error", "skip", "--columns", "id,sex"]):
        said = scored(source, tmp_path / "out.csv", *_to(server), "--delimiter", "~", *options)
        assert "2,500 rows read, 2,499 scored, 1 failed" in said
        assert (tmp_path / "out.csv").read_bytes() == _whole(source, "--delimiter", "~", *options)


def test_a_refusal_is_no_failure_in_passing(server: httpx.Client, source: Path) -> None:
    """A rejection is not retried, and its message is the service's."""
    with Between(server) as between:
        words = refused(source, source.with_name("out.csv"), *_to(between, "--model", "none"))
        assert words.endswith("model 'none' is not served; there is titanic")
        words = refused(source, source.with_name("out.csv"), *_to(between, "--columns", "a"))
        assert 'columns: there is no "a"' in words
    assert len(between.asked) == 2
    assert left(source.parent) == {"in.csv"}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (Refuse(200, (("content-type", "text/html"),), b"<html>"), "expected text/csv; is there a Lifeboat at this"),
        (Refuse(200, (("content-type", "text/csv"),), b"a,b\n"), "expected text/csv; is there a Lifeboat at this"),
        (Refuse(404, (), b"<html>"), "404 Not Found: is there a Lifeboat at this address?"),
        (Refuse(401), "401 Unauthorized: send credentials with --header"),
        (Refuse(403), "403 Forbidden: send credentials with --header"),
        (Refuse(413, (), b"too large"), "send smaller parts with --part-rows, or compress them with --compress"),
        (Refuse(308, (("location", "https://elsewhere/"),)), "it redirects to 'https://elsewhere/'; use that address"),
    ],
)
def test_another_service(source: Path, act: Act, words: str) -> None:
    """A response that isn't Lifeboat's ends the command at once with one line."""
    with Between(None, act) as between:
        done = score(source, source.with_name("out.csv"), *_to(between))
    assert done.returncode == 1
    assert words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == len(between.asked) == 1
    assert left(source.parent) == {"in.csv"}


def test_the_address(server: httpx.Client, source: Path) -> None:
    """The URL may have a path; a slash at its end makes no other job."""
    out = source.with_name("out.csv")
    with Between(server, None, Refuse(503)) as between:
        asked = (source, out, "--part-rows", "1000", "--tries", "1", "--model", "titanic", "--label", "stable")
        refused(*asked, "--url", f"{between.url}/base/")
        scored(*asked, "--url", f"{between.url}/base")
    assert between.asked[0].path.startswith("/base/api/models/titanic/labels/stable/batch?columns=all&on_error=fail&")


def test_headers(server: httpx.Client, source: Path) -> None:
    """--header is sent with each request; its value is in no file and no message."""
    with Between(server, None, Refuse(401)) as between:
        asked: list[str | Path] = [source, source.with_name("out.csv"), *_to(between)]
        done = score(*asked, "--header", "Authorization: Bearer hunter2", "--header", "x-key:  hunter2")
        assert done.returncode == 1
        assert b"hunter2" not in done.stderr
        kept = (source.with_name("out.csv.parts") / "job.json").read_text()
        assert "hunter2" not in kept
        assert json.loads(kept)["job"]["url"] == between.url
        scored(*asked, "--header", "authorization: Bearer hunter3")
    sent = [(each.headers["authorization"], each.headers.get("x-key")) for each in between.asked]
    assert sent == [("Bearer hunter2", "hunter2")] * 2 + [("Bearer hunter3", None)] * 4
    for wrong in ("hunter2", "a b: hunter2", "x: hunter2\r\ny: z", "content-type: hunter2", "x: hünter2"):
        done = score(*asked, "--header", wrong)
        assert done.returncode == 2
        assert b"nter2" not in done.stderr


def test_packed_parts(server: httpx.Client, source: Path) -> None:
    """--compress sends fewer bytes and gives the same output."""
    source.write_bytes(as_csv(rows(5000)))
    with Between(server) as between:
        scored(source, source.with_name("out.csv"), *_to(between, "--compress"))
    assert {each.headers["content-encoding"] for each in between.asked} == {"zstd"}
    assert sum(len(each.body) for each in between.asked) < source.stat().st_size / 3
    assert source.with_name("out.csv").read_bytes() == _whole(source)


def _versions(models: Path, stable: int) -> None:
    (models / "small" / "labels.json").write_text(json.dumps({"stable": stable}))


def test_a_label_that_moves_in_between(tmp_path: Path) -> None:
    """All parts use the first part's version, in this run and the next."""
    models, source, out = tmp_path / "models", tmp_path / "in.csv", tmp_path / "out.csv"
    small.double(models, version=1)
    small.double(models, version=2)
    source.write_text("x\n" + "1.5\n" * 40)
    _versions(models, stable=1)
    asked = (source, out, "--part-rows", "10", "--tries", "1")
    with serving(LIFEBOAT_MODELS=str(models)) as server, Between(server, None, None, Refuse(503)) as between:
        refused(*asked, "--url", between.url)
        _versions(models, stable=2)
        with serving(LIFEBOAT_MODELS=str(models)) as second:
            between.upstream = second
            assert "(small version 1):" in scored(*asked, "--url", between.url)
    paths = [each.path.partition("?")[0] for each in between.asked]
    assert paths == ["/api/batch"] + ["/api/models/small/versions/1/batch"] * 4
    assert out.read_text() == "x,predicted_value\n" + "1.5,3.0\n" * 40


def test_a_version_that_is_gone(tmp_path: Path) -> None:
    """If the first part's version is no longer served, the job is rejected."""
    models, source = tmp_path / "models", tmp_path / "in.csv"
    small.double(models, version=1)
    source.write_text("x\n" + "1.5\n" * 20)
    asked = (source, tmp_path / "out.csv", "--part-rows", "10", "--tries", "1")
    with Between(None, None, Refuse(503)) as between:
        with serving(LIFEBOAT_MODELS=str(models)) as between.upstream:
            refused(*asked, "--url", between.url)
        shutil.move(models / "small" / "1", models / "small" / "2")
        small.edit(models / "small" / "2", version=2)
        with serving(LIFEBOAT_MODELS=str(models)) as between.upstream:
            said = refused(*asked, "--url", between.url)
    assert said.endswith("model 'small' has no version '1'; its versions: 2")


def test_who_answers_by_another_version(server: httpx.Client, source: Path) -> None:
    """A response from another version than requested is rejected."""
    other = (("content-type", "text/csv"), ("lifeboat-model", "titanic"), ("lifeboat-version", "2"))
    with Between(server, None, Refuse(200, other, b"a\n# rows-read=1, rows-scored=1, rows-failed=0\n")) as between:
        said = refused(source, source.with_name("out.csv"), *_to(between))
    assert said.endswith("expected predictions of titanic version 1; got those of titanic version 2")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a self-signed certificate for 127.0.0.1 and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl, to make a certificate")
    path = tmp_path / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run([*made, *named], capture_output=True, check=True).stdout)
    return path


def test_https(server: httpx.Client, source: Path, certificate: Path) -> None:
    """HTTPS works if the system trusts the certificate; otherwise the command ends at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Between(server) as between:
        between.listener.socket = context.wrap_socket(between.listener.socket, server_side=True)
        url = between.url.replace("http://", "https://")
        out = source.with_name("out.csv")
        said = refused(source, out, "--url", url)
        assert "its certificate is not trusted: self" in said
        scored(source, out, "--url", url, SSL_CERT_FILE=str(certificate))
    assert out.read_bytes() == _whole(source)
    assert refused(source, out, "--url", str(server.base_url).replace("http:", "https:")).endswith(
        "an http:// address?"
    )


def test_a_service_that_loses_rows(server: httpx.Client, source: Path) -> None:
    """A response with fewer rows than its part is an error; no part is written."""
    kind = (("content-type", "text/csv"), ("lifeboat-model", "titanic"), ("lifeboat-version", "1"))
    few = Refuse(200, kind, b"pclass\n1\n# rows-read=1, rows-scored=1, rows-failed=0\n")
    out = source.with_name("out.csv")
    with Between(server, few) as front:
        said = refused(source, out, "--url", front.url, "--part-rows", "1000")
    assert said.endswith("rows 1 to 1,000: expected predictions for 1,000 rows; got 1")
    assert not out.exists()
