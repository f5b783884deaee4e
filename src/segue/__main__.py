"""`python -m segue` is the command `segue`."""

from segue.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
