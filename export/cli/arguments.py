"""Define the exporter's command line."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.models.quoting import quoted
from server.models.repository import STABLE

SEED: Final = 1912
WORK: Final = Path(".build/export")
PROGRAM: Final = "python -m export"
_EPILOG: Final = """\
exit codes: 0 done, or nothing to do; 1 error in the spec, data, conversion, repository or label; 2 invalid command
line; 3 onnxruntime disagrees with scikit-learn; 4 worse than the stable version. With 1 to 4 nothing was published
and no label was moved. 130 interrupted: completed steps are saved; run the same command again to finish.
"""
COMMANDS: Final = {
    "run": "run all steps, from the data to a published version",
    "train": "compare the candidates, then fit and score the best one",
    "verify": "convert the trained model and compare it with scikit-learn",
    "publish": "publish the verified model if it is not worse than the stable version",
    "label": "point a label of a model at a version",
    "rollback": "point a label at its previous version",
    "list": "list the versions with their labels and scores",
    "diff": "compare two versions: signature, scores, predictions",
    "card": "print the path of a version's model card, or render the card again",
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed options. Exits with 2 for an invalid command line, with 0 for --help."""
    return parser().parse_args(arguments)


def parser() -> argparse.ArgumentParser:
    """Return the argument parser with all commands."""
    root = _Parser(PROGRAM, "Train, convert, verify and publish a model; roll versions out and back.", epilog=_EPILOG)
    commands = root.add_subparsers(dest="command", required=True, metavar="command", parser_class=_Parser)
    parsers = {
        name: commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        for name, text in COMMANDS.items()
    }
    for name in ("run", "train"):
        _add_source(parsers[name])
    for name in ("verify", "publish"):
        parsers[name].add_argument(
            "--spec", type=Path, metavar="FILE", help="the model's spec, the same file as for train"
        )
    for name in ("train", "verify", "publish"):
        parsers[name].add_argument(
            "--work",
            type=Path,
            default=WORK,
            metavar="FOLDER",
            help="folder for the results of the steps (default: .build/export)",
        )
    for name in ("run", "publish"):
        parsers[name].add_argument("--no-promote", action="store_true", help=f"do not move the label '{STABLE}'")
        parsers[name].add_argument(
            "--force",
            action="store_true",
            help="publish even if the model is worse than the stable version, or can't be compared with it",
        )
    for name in ("label", "rollback", "diff", "card"):
        parsers[name].add_argument("name", help="the model's name")
    parsers["list"].add_argument("name", nargs="?", help="the model's name (default: every model)")
    _add_label(parsers["label"])
    parsers["rollback"].add_argument("--label", default=STABLE, help=f"the label to move back (default: {STABLE})")
    _add_versions(parsers["diff"], parsers["card"])
    for name, each in parsers.items():
        if name not in {"train", "verify"}:
            each.add_argument(
                "--models",
                type=Path,
                default=Path("models"),
                metavar="FOLDER",
                help="the model repository (default: models)",
            )
        each.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return root


class _Parser(argparse.ArgumentParser):
    """Argument parser that rejects abbreviated options.

    A new option could change the meaning of an abbreviation in a script.
    """

    def __init__(self, prog: str, description: str = "", epilog: str | None = None) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def _add_source(each: argparse.ArgumentParser) -> None:
    each.add_argument(
        "--spec", type=Path, metavar="FILE", help="a Python file that defines the model's Spec (default: Titanic's)"
    )
    data = each.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, metavar="FILE", help="the CSV file to train on (default: the spec's own)")
    data.add_argument("--openml", action="store_true", help="train on the spec's OpenML data set instead")
    each.add_argument(
        "--seed", type=_seed, default=SEED, help=f"random seed of the split and the training (default: {SEED})"
    )


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**32 - 1}; got {quoted(text)}")
    return int(text)


def _add_label(each: argparse.ArgumentParser) -> None:
    each.add_argument("label", help="the label, for example stable or canary")
    each.add_argument("version", type=int, nargs="?", help="the version to point it at")
    each.add_argument("--remove", action="store_true", help="remove the label instead")


def _add_versions(diff: argparse.ArgumentParser, card: argparse.ArgumentParser) -> None:
    diff.add_argument(
        "before",
        nargs="?",
        help="a version or label (default: stable, or the version before 'after' if that is stable)",
    )
    diff.add_argument("after", nargs="?", help="a version or label (default: the newest version)")
    diff.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="the CSV file to compare predictions on (default for titanic: its own)",
    )
    card.add_argument("version", nargs="?", help="a version or label (default: stable, else the newest version)")
    card.add_argument("--out", type=Path, metavar="FILE", help="render the card again, into this file")
    card.add_argument(
        "--spec", type=Path, metavar="FILE", help="the model's spec, for --out (default for titanic: its own)"
    )
    card.add_argument(
        "--data", type=Path, metavar="FILE", help="the CSV file of the training, for --out (default: the spec's own)"
    )
