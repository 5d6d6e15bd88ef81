"""What is forked from the server that has imported everything can still use a GPU."""

import os
import subprocess
import sys

PROBE = """
import os
from ditbench.processes import answer_of

def serve(outbox, task):
    import torch
    outbox.send(torch.cuda._is_in_bad_fork())

if __name__ == "__main__":
    print("bad fork:", answer_of(serve, None), os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"))
"""


def test_importing_does_not_bar_forked_processes_from_cuda(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    # without NVML torch asks CUDA after all; it need not ask either if no device may be seen
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "probe.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout == "bad fork: False None\n", done.stdout + done.stderr
