"""`python -m fastbucket`."""

from .cli import main

main()
