"""A trainer without torch, in a real process that honours the run directory, its last argument.

Its parameters are the end of a chain of hashes, so they and every metric depend on all steps
before: a resume that loses or repeats one ends otherwise. `optimization.epochs` is the number of
steps, and `optimization.batch_size` how many milliseconds one takes. Only the standard library,
and little of it, because thousands of these are started.

`--locks FOLDER` writes a file `twice` there if another trainer of the same seed is at work.
"""

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path


def main(run: Path, locks: Path | None) -> None:
    """Train to the end, or until told to stop."""
    config = json.loads((run / "config.json").read_text())
    if locks is not None:
        lock_seed(locks, config["seed"])
    optimization, seed = config["optimization"], str(config["seed"]).encode()
    step, state = read_checkpoint(config["resume_from"])
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    append(run, type="started", num_steps=optimization["epochs"], first_step=step)
    while step < optimization["epochs"]:
        if is_dead(run):
            os._exit(1)
        if told or (run / "stop").exists():
            save(run, step, state)
            write_result(run, status="stopped", reason="stopped", step=step)
            return
        time.sleep(optimization["batch_size"] / 1000)
        step, state = step + 1, hashlib.sha256(state + seed).digest()
        append(run, type="metrics", step=step, values={"loss": loss(state)})
        if step % config["checkpoint"]["every_steps"] == 0 or step == optimization["epochs"]:
            save(run, step, state)
    write_result(run, status="succeeded", step=step, values={"state": state.hex()})


def lock_seed(folder: Path, seed: int) -> None:
    """Hold a lock until the process ends; note in `twice` that another trainer holds it."""
    descriptor = os.open(folder / f"{seed}.lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with (folder / "twice").open("a") as file:
            file.write(f"{seed}\n")


def chain(seed: int, num_steps: int) -> list[bytes]:
    """Return the state after each step of a run that nothing disturbs."""
    states = [b""]
    for _ in range(num_steps):
        states.append(hashlib.sha256(states[-1] + str(seed).encode()).digest())
    return states[1:]


def loss(state: bytes) -> float:
    """Return the metric that a state has."""
    return int.from_bytes(state[:6], "big") / 2**48


def read_checkpoint(folder: str | None) -> tuple[int, bytes]:
    """Return step and state of a checkpoint, or those of a run that begins."""
    if folder is None:
        return 0, b""
    content = json.loads((Path(folder) / "checkpoint.json").read_text())
    return content["step"], bytes.fromhex(content["state"])


def save(run: Path, step: int, state: bytes) -> None:
    """Write a checkpoint, whole or not at all, and report it."""
    name = f"checkpoints/step_{step:08d}"
    draft = run / "checkpoints" / f".{step}"
    if (run / name).exists():
        return
    draft.mkdir(parents=True)
    (draft / "checkpoint.json").write_text(json.dumps({"step": step, "state": state.hex()}))
    draft.rename(run / name)
    append(run, type="checkpoint", step=step, path=name)


def append(run: Path, **line: object) -> None:
    """Append a line of progress in one write."""
    content = json.dumps({"at": time.time(), **line}).encode() + b"\n"
    descriptor = os.open(run / "progress.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def write_result(run: Path, **result: object) -> None:
    """Say how the run ended."""
    draft = run / ".result"
    draft.write_text(json.dumps(result))
    draft.rename(run / "result.json")


def is_dead(run: Path) -> bool:
    """Whether the deadman's moment has passed."""
    try:
        return time.monotonic() > float((run / "deadman").read_text())
    except (FileNotFoundError, ValueError):
        return False


if __name__ == "__main__":
    main(Path(sys.argv[-1]), Path(sys.argv[2]) if sys.argv[1] == "--locks" else None)
