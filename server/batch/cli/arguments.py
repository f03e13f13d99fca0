"""Command line options of `python -m server score`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from server.batch.cli.service_url import Address, header
from server.batch.cli.task import Remote, ScoringOptions, Task
from server.batch.options import ON_ERROR, parse_delimiter, parse_row_options, parse_text_format
from server.codecs.tables.media_types import BY_SUFFIX, CSV, FILE_FORMATS, PARQUET, FileFormat
from server.errors import InvalidArgument
from server.models.quoting import quoted

_EPILOG: Final = """\
exit codes: 0 all rows were read; 1 the file, the model or the service is invalid or unavailable;
2 an invalid option; 130 interrupted by SIGINT, 143 by SIGTERM. An output file appears only when it
is complete.
"""
PART_ROWS: Final = 100_000
TRIES: Final = 5
RETRY_WAIT_S: Final = 1.0
_TAB_SUFFIX: Final = ".tsv"
_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
_T = TypeVar("_T")


def task_of(arguments: Sequence[str]) -> Task:
    """Return the task that the arguments describe.

    Exits with 2 for invalid arguments, and with 0 for --help.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _task(options)
    except _InvalidOptions as error:
        parser.error(str(error))


class _InvalidOptions(Exception):
    """Invalid options; the message names one of them."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m server score",
        description="Score a CSV, NDJSON, Arrow IPC stream or Parquet file, also in gzip or zstd; detect its format.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("input", help="the file to score; - for standard input")
    add(
        "output",
        help="the file to write, in the format of its suffix, compressed if .gz or .zst follows;"
        " a folder for parts (an existing folder, or a name that ends in /); - for standard output",
    )
    format_names = [*(file_format.name for file_format in FILE_FORMATS), "tsv"]
    add("--to", choices=format_names, help="the output format, if the suffix does not state it (default: the input's)")
    add("--columns", default="all", help="the input columns to copy to the output: all, none, or a,b (default: all)")
    on_error = "a row that can't be scored ends the run, gets no prediction, or is omitted (default: fail)"
    add("--on-error", choices=ON_ERROR, default="fail", help=on_error)
    add("--delimiter", help="the delimiter of a CSV file; tab for a tab (default: detected)")
    add("--decimal", help="the decimal separator of CSV, in input and output: point or comma (default: point)")
    add("--null", help="spellings of null in CSV besides an empty field: a,b (default: NA, NULL, null, NaN, ...)")
    add("--model", help="the model (default: the only one, or LIFEBOAT_DEFAULT_MODEL)")
    version_options = parser.add_mutually_exclusive_group()
    version_options.add_argument("--version", help="the model version (default: the label stable, else the highest)")
    version_options.add_argument("--label", help="the label of the model version")
    add("--models", type=Path, help="the model repository (default: LIFEBOAT_MODELS, else models)")
    add("--part-rows", type=_positive, default=PART_ROWS, help=f"maximum rows of a part (default: {PART_ROWS})")
    add("--quiet", action="store_true", help="print no progress and no retries")
    remote = parser.add_argument_group("to score with a deployed service, in parts")
    add = remote.add_argument
    add("--url", type=_type_function(Address), help="the URL of the service")
    add(
        "--header",
        action="append",
        default=[],
        type=_type_function(header),
        metavar='"NAME: VALUE"',
        help="a header of each request, such as an API key; may be repeated",
    )
    add("--compress", action="store_true", help="compress the parts with zstd")
    add("--tries", type=_positive, default=TRIES, help=f"maximum attempts for each part (default: {TRIES})")
    retry_wait_help = f"seconds before the first retry, doubled before each further one (default: {RETRY_WAIT_S:g})"
    add("--retry-wait", type=_seconds, default=RETRY_WAIT_S, metavar="SECONDS", help=retry_wait_help)
    return parser


def _type_function(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return `read` as a type function for argparse.

    Error messages are those of `read`: argparse's own would repeat the value, which may be a secret.
    """

    def checked(text: str) -> _T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _positive(text: str) -> int:
    with suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1; got {quoted(text)}")


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected seconds, less than 3600; got {quoted(text)}")


def _task(options: argparse.Namespace) -> Task:
    output = None if options.output == "-" else Path(options.output)
    is_folder = output is not None and (options.output.endswith("/") or output.is_dir())
    file_format, encoding, tabs = _output_format(options.to, Path(options.output), is_folder=is_folder)
    remote = _remote(options)
    parts = None
    if is_folder:
        parts, output = output, None
    elif remote is not None:
        if output is None or (output.exists() and not output.is_file()):
            raise _InvalidOptions("output: expected a file or a folder with --url")
        parts = output.with_name(f"{output.name}.parts")
    if options.input == "-" and parts is not None:
        raise _InvalidOptions("input: expected a file, because a resumed run reads it again")
    source = None if options.input == "-" else Path(options.input)
    if source is not None and output is not None and output.exists() and source.exists() and source.samefile(output):
        raise _InvalidOptions("output: expected a file other than the input")
    return Task(
        input=source,
        output=output,
        file_format=file_format,
        encoding=encoding,
        options=_scoring_options(options),
        tabs=tabs,
        models=options.models,
        remote=remote,
        parts=parts,
        part_rows=options.part_rows,
        quiet=options.quiet,
        shows_progress=not options.quiet and sys.stderr is not None and sys.stderr.isatty(),
    )


def _output_format(to: str | None, output: Path, *, is_folder: bool) -> tuple[FileFormat | None, str, bool]:
    """Return the output's format, its compression, and whether CSV has tabs."""
    suffix, encoding = output.suffix.lower(), "identity"
    if suffix in _COMPRESSIONS and not is_folder:
        encoding = _COMPRESSIONS[suffix]
        suffix = Path(output.stem).suffix.lower()
    file_format = next((each for each in FILE_FORMATS if each.name == to), BY_SUFFIX.get(suffix))
    if to == "tsv":
        file_format = CSV
    if file_format is None and suffix and not is_folder:
        raise _InvalidOptions(f"output: unknown suffix {suffix}; expected {', '.join(BY_SUFFIX)}, or --to")
    if encoding != "identity" and file_format in {None, PARQUET}:
        message = "Parquet compresses itself" if file_format is PARQUET else "expected the suffix of a format before it"
        raise _InvalidOptions(f"output: {output.name}: {message}")
    return file_format, encoding, to == "tsv" or (file_format is CSV and suffix == _TAB_SUFFIX and to is None)


def _scoring_options(options: argparse.Namespace) -> ScoringOptions:
    try:
        parse_row_options(options.columns, options.on_error)
        parse_delimiter(options.delimiter)
        parse_text_format(options.null, options.decimal)
    except InvalidArgument as error:
        raise _InvalidOptions(f"--{error.message}") from None
    model_options = (options.model, options.version, options.label)
    return ScoringOptions(
        options.columns, options.on_error, options.delimiter, *model_options, options.decimal, options.null
    )


def _remote(options: argparse.Namespace) -> Remote | None:
    if options.url is None:
        if options.header or options.compress:
            raise _InvalidOptions("--header, --compress: expected together with --url")
        return None
    if options.models is not None:
        raise _InvalidOptions("--models: not allowed with --url; the service has its own models")
    if (options.version or options.label) and options.model is None:
        raise _InvalidOptions("--version, --label: expected together with --model if --url is given")
    return Remote(options.url.text, options.header, options.tries, options.retry_wait, options.compress)
