"""The benchmark for GPUs, rehearsed on a CPU: it has to run where nobody can mend it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_rehearsal_measures_every_combination() -> None:
    rehearsal = ["--tiny", "--warmup", "1", "--steps", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_training", *rehearsal],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    machine, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert machine.keys() == {"device", "torch", "cuda", "cudnn", "python", "command"}
    assert "--tiny" in machine["command"]
    varied = [(line["channels_last"], line["activation_checkpointing"]) for line in lines]
    assert sorted(varied) == [(False, False), (False, True), (True, False), (True, True)]
    for line in lines:
        assert line["preset"] == "tiny"
        assert line["images_per_second"] > 0
        assert line["peak_memory_bytes"] > 0
