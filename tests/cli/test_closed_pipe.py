"""A reader that has seen enough, as `head` has, is no error to report."""

import os
import subprocess
import sys

from flexlib import paths


def test_a_closed_pipe_ends_a_listing_silently():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flexlib", "sweep", "--plan", "data", "--list"]
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            command, cwd=paths.ROOT, stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")
