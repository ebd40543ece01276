"""The command `python -m chainad`."""

from chainad.command_line.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
