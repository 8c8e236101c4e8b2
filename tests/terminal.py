"""Runs a program as if a person sat at a terminal of 100 columns."""

import os
import pty
import subprocess


def on_a_terminal(command, *, cwd=None, env=None):
    """(exit code, output) of a command whose standard streams are a terminal."""
    main, side = pty.openpty()
    full = {**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **(env or {})}
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=full, cwd=cwd)
    os.close(side)
    data = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other side was closed
            break
        if not piece:
            break
        data += piece
    os.close(main)
    return process.wait(), data.decode().replace("\r\n", "\n")
