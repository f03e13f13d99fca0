"""The command line of `python -m server score`."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from server.errors import ModelError, RequestError, SettingsError
from server.score.files import score_file
from server.score.parts import PartsError, score_parts
from server.score.remote import RemoteError
from server.score.task import Task, Tried
from server.tables.forms import BY_SUFFIX, FORMS

_EPILOG: Final = """\
exit codes: 0 all rows were read; 1 the file or the service was refused, or can't be had; 2 a wrong option.
A row that can't be scored ends the work (--on-error fail), is kept without an answer (null) or left out (skip).
"""
PART_ROWS: Final = 100_000


def main(arguments: Sequence[str]) -> int:
    """Score a file. Returns the exit code; what is said goes to standard error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        task = _task(parser, options)
        counts = score_parts(task) if task.parts is not None else score_file(task)
    except (RequestError, ModelError, SettingsError, PartsError, RemoteError) as error:
        _say(f"score: {error}")
        return 1
    except OSError as error:
        _say(f"score: {error.filename or options.input}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        _say(
            "score: interrupted"
            + ("; the same command goes on where it ended" if options.url or _is_folder(options.output) else "")
        )
        return 130
    _say(f"{counts.read:,} rows read, {counts.scored:,} scored, {counts.failed:,} failed: {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m server score",
        description="Score a table: CSV, NDJSON, an Arrow IPC stream or Parquet, by its first bytes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", help="the file to score; - for standard input")
    parser.add_argument(
        "output", help="the file to write, in the form of its suffix; a folder for parts; - for standard output"
    )
    parser.add_argument(
        "--to", choices=[form.name for form in FORMS], help="the form to write, where no suffix says so"
    )
    parser.add_argument("--columns", default="all", help="the columns to pass on: all, none, or a,b (default: all)")
    parser.add_argument(
        "--on-error",
        choices=("fail", "null", "skip"),
        default="fail",
        help="what becomes of a row that can't be scored (default: fail)",
    )
    parser.add_argument(
        "--delimiter", help="what stands between the columns of a CSV file (default: found out); tab for a tab"
    )
    parser.add_argument("--model", help="the model (default: the only one, or LIFEBOAT_DEFAULT_MODEL)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", help="its version (default: the label stable, else the highest)")
    which.add_argument("--label", help="its version by a label")
    parser.add_argument("--models", type=Path, help="the folder of models (default: LIFEBOAT_MODELS, else models)")
    parser.add_argument("--url", help="have a deployed service score: its address; the file is sent in parts")
    parser.add_argument("--part-rows", type=_positive, default=PART_ROWS, help=f"rows of a part (default: {PART_ROWS})")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _positive(text: str) -> int:
    with suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1; got {text!r}")


def _task(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Task:
    suffix = Path(options.output).suffix
    form = next((each for each in FORMS if each.name == options.to), None) or BY_SUFFIX.get(suffix)
    if form is None and suffix and not _is_folder(options.output):
        parser.error(f"output: {suffix} is no suffix of a table; expected {', '.join(BY_SUFFIX)}, or --to")
    if options.url is not None and not options.url.startswith(("http://", "https://")):
        parser.error(f"--url: expected http:// or https://; got {options.url}")
    parts = None
    if _is_folder(options.output):
        parts = Path(options.output)
    elif options.url is not None:
        if options.output == "-":
            parser.error("output: expected a file or a folder with --url")
        parts = Path(f"{options.output}.parts")
    if parts is not None and options.input == "-":
        parser.error("input: expected a file, where its parts are to be found again")
    return Task(
        input=None if options.input == "-" else Path(options.input),
        output=None if options.output == "-" or parts == Path(options.output) else Path(options.output),
        form=form,
        tried=Tried(
            options.columns, options.on_error, options.delimiter, options.model, options.version, options.label
        ),
        tabs=suffix == ".tsv",
        models=options.models,
        url=options.url,
        parts=parts,
        part_rows=options.part_rows,
        quiet=options.quiet or not sys.stderr.isatty(),
    )


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _say(words: str) -> None:
    print(words, file=sys.stderr)  # a command line's own voice
