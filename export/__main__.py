"""`python -m export`: data to a published model, and its versions rolled out and back."""

import sys
from collections.abc import Sequence

from export.options import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line. Returns the exit code, as its --help tells them: refusals are told in a line or a few."""
    options = parse(arguments)
    # Here: what trains takes seconds to import, and --help needs none of it.
    from export.commands import COMMANDS
    from export.console import Console
    from export.refusals import REFUSALS, code_of

    console = Console(json=options.json)
    try:
        COMMANDS[options.command](options, console)
    except REFUSALS as error:
        console.refuse(error, code_of(error))
        return code_of(error)
    except KeyboardInterrupt:
        console.refuse(
            InterruptedError("interrupted: what was done is whole, and the same command again finishes it"), 130
        )
        return 130
    except Exception as error:  # nobody foresaw it: who wrote the program is to see where, and a machine that it failed
        console.fact(error=f"{type(error).__name__}: {error}", code=1)
        raise
    finally:
        console.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
