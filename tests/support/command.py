"""The command `vqlearn`, run in this process."""

import sys

import pytest

from vqlearn.cli import commands


def run_command(monkeypatch, capsys, *arguments):
    """Exit code, standard output and standard error of `vqlearn ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["vqlearn", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out, captured.err
