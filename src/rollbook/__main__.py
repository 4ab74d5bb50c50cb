"""Lets `python -m rollbook` do what the `rollbook` command does."""

from rollbook.cli import main

main(prog_name="rollbook")
