"""Progress bars: a time left that does not jump, and few lines where there is no terminal."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from score_sde import progress
from score_sde.progress import progress_bar

UPDATES = """
import time
from score_sde import progress
progress.EVERY = {every}
bar = progress.progress_bar(total=40, description="steps", unit=" steps")
for _ in range(40):
    time.sleep(0.02)
    bar.update(1)
    bar.set_postfix(loss="1.0", refresh=False)
bar.close()
"""


def lines_of(every):
    done = subprocess.run([sys.executable, "-c", UPDATES.format(every=every)], capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr
    return done.stderr.splitlines()


def test_a_file_gets_a_line_a_minute_and_the_last_one():
    first, last = lines_of(60.0)
    assert "0/40" in first and "40/40" in last and "loss=1.0" in last


def test_a_file_gets_lines_as_time_passes():
    assert 3 <= len(lines_of(0.2)) <= 8  # 0.8 s and more


def test_a_terminal_gets_a_bar_that_is_written_over():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # rows and columns
    subprocess.run([sys.executable, "-c", UPDATES.format(every=60.0)], stderr=theirs, check=True)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # which ends the reading on Linux
        while part := os.read(ours, 10_000):
            seen += part
    assert seen.count(b"\r") > 4 and b"40/40" in seen


def test_time_left_follows_from_the_mean_speed(monkeypatch):
    """25 of 100 in 100 s leave 300 s, however fast the last ones were."""
    assert progress.EVERY == 60
    monkeypatch.setattr(progress, "EVERY", 0.0)  # each update is shown, and would enter a mean that forgets the first ones
    bar = progress_bar(total=100, description="steps", unit=" steps")
    for _ in range(25):
        bar.update(1)  # very fast, the first ones were slow
    bar.start_t -= 100
    assert "05:0" in str(bar)
    bar.close()
