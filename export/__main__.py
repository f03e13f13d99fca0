"""Run the exporter: `python -m export` makes, publishes, labels and rolls back model versions."""

import sys
from collections.abc import Sequence

from export.cli.arguments import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    --help lists the exit codes. An expected error is printed in one or a few lines, without a traceback.
    """
    options = parse(arguments)
    # Imported here: the training modules take seconds to import, and --help does not need them.
    from export.cli.commands import COMMANDS
    from export.cli.exit_codes import EXPECTED_ERRORS, code_of
    from export.console import Console

    console = Console(json=options.json)
    try:
        COMMANDS[options.command](options, console)
    except EXPECTED_ERRORS as error:
        console.report_error(error, code_of(error))
        return code_of(error)
    except KeyboardInterrupt:
        console.report_error(
            InterruptedError("interrupted: completed steps are saved; run the same command again to finish"), 130
        )
        return 130
    except Exception as error:  # unexpected: developers get the traceback, --json gets the error
        console.add_result(error=f"{type(error).__name__}: {error}", code=1)
        raise
    finally:
        console.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
