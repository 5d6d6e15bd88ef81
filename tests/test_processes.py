"""What is forked from the server that has imported everything can still use a GPU."""

import os
import subprocess
import sys

import pytest

PROBE = """
import os
from ditbench.processes import answer_of

def serve(outbox, task):
    import torch
    outbox.send(torch.cuda._is_in_bad_fork())

if __name__ == "__main__":
    print("bad fork:", answer_of(serve, None), os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"))
"""


@pytest.mark.parametrize("of_the_user", [None, "0"])
def test_importing_does_not_bar_forked_processes_from_cuda(tmp_path, of_the_user):
    (tmp_path / "probe.py").write_text(PROBE)
    # without NVML torch asks CUDA after all; it need not ask either if no device may be seen
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    if of_the_user is not None:
        environment["PYTORCH_NVML_BASED_CUDA_CHECK"] = of_the_user
    command = [sys.executable, "probe.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout == f"bad fork: False {of_the_user}\n", done.stdout + done.stderr
