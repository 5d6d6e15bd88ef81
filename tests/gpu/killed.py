"""A run that is killed in its middle, after its milestone, goes on and keeps it: python killed.py FOLDER [DEVICE]"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 60.0  # until the milestone must be there


def command(folder, device):
    """1,500 steps of a small network, measured on the way, with checkpoints all the time."""
    how = ("--budget", "1500-steps", "--eval-at", "10%", "--samples", "20", "--checkpoint-every", "0.5")
    where = ("--device", device, "--out", str(folder))
    return [sys.executable, "-m", "ditbench", "run", "dit", "--track", "digits", *how, *where]


def main(folder, device="cuda"):
    first = subprocess.Popen(command(folder, device), start_new_session=True)
    until = time.monotonic() + SECONDS
    while not list(Path(folder).glob("digits/*/milestones.json")) and first.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.0)  # training goes on, and a checkpoint is written
    if first.poll() is not None:
        sys.exit(f"The run ended before it could be killed, with exit code {first.returncode}.")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    subprocess.run(command(folder, device), check=True)
    (path,) = Path(folder).glob("digits/*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    found = (record["status"], record["training"]["resumed"], [one["at"] for one in record["milestones"]])
    print(f"status, times resumed, milestones: {found}")
    if found != ("finished", 1, [0.1]):
        sys.exit("It did not go on as it should.")


if __name__ == "__main__":
    main(*sys.argv[1:])
