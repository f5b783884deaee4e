"""`python -m segue` is the command `segue`."""

from segue.cli import run

if __name__ == "__main__":
    raise SystemExit(run())
