"""`python -m app.cli` is `bridge`."""

from app.cli import main

main()
