"""Does an evaluation survive kill -9? Killed at random moments, continued, and compared with one that was left alone.

    python scripts/check_kill.py --output_path docs/results/evaluate_kill.json

A round evaluates the embedded base on arithmetic at two budgets into a new folder: the command is started, killed by
SIGKILL after a time drawn uniformly between 0 and what a whole evaluation takes, and started again, until it gets to
its end. Rounds are made until there were `--num_kills` kills. After each kill every batch that was finished before it
must still be there; at the end of a round the samples must be those of the undisturbed evaluation, each once. Exit code
1 when one is lost, doubled or different. The processes are forked from one that has imported everything, so that the
moments fall into the work.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

NUM_SAMPLES, BUDGETS, BATCH_SIZE = 2, ("16", "inf"), 16


def evaluate(folder: Path, num_problems: int) -> int:
    """Start `timecost evaluate` in a process of its own; returns its id."""
    from timecost import cli

    pid = os.fork()
    if pid:
        return pid
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    code = 70
    try:
        code = cli.main([
            "evaluate", "--model_name_or_path", "arithmetic_base", "--tasks", "arithmetic", "--budgets",
            ",".join(BUDGETS), "--num_problems", str(num_problems), "--num_samples", str(NUM_SAMPLES), "--batch_size",
            str(BATCH_SIZE), "--output_path", str(folder),
        ])  # fmt: skip
    finally:
        os._exit(code)


def wait(pid: int, seconds: float | None = None) -> int | None:
    """The exit code of a process, negative for a signal; None when it still runs after `seconds`."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def samples(folder: Path) -> list[dict]:
    """The samples in the order of the file, without the seconds that they took."""
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def state(folder: Path, per_job: int) -> set[tuple[str, int]]:
    """What is done: (budget, batch), from the records of finished jobs and the files of unfinished ones."""
    results = folder / "results.json"
    records = json.loads(results.read_text())["records"] if results.exists() else []
    done = {(record["budget"], number) for record in records for number in range(per_job)}
    for budget in BUDGETS:
        files = folder.glob(f"unfinished/*-arithmetic-{budget}-none-*/batch-*.jsonl")
        done |= {(budget, int(path.stem.removeprefix("batch-"))) for path in files}
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", type=Path)
    parser.add_argument("--num_kills", type=int, default=20)
    parser.add_argument("--num_problems", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    import timecost.evaluation.sweeps  # noqa: F401
    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    torch.set_num_threads(1)
    rng, kills, lost, doubled, different, rounds = random.Random(args.seed), [], 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as work:
        alone = Path(work) / "alone"
        start = time.monotonic()
        if (code := wait(evaluate(alone, args.num_problems))) != 0:
            sys.exit(f"the undisturbed evaluation ended with {code}")
        whole, expected = time.monotonic() - start, samples(alone)
        per_job = -(-args.num_problems * NUM_SAMPLES // BATCH_SIZE)
        while len(kills) < args.num_kills:
            rounds += 1
            folder, before = Path(work) / f"round-{rounds}", set()
            while True:
                moment = rng.uniform(0, whole)
                pid = evaluate(folder, args.num_problems)
                code = wait(pid, moment if len(kills) < args.num_kills else None)
                if code is None:
                    os.kill(pid, signal.SIGKILL)
                    code = wait(pid)
                if code == 0:
                    break
                if code != -signal.SIGKILL:
                    sys.exit(f"an evaluation that was not killed ended with {code}")
                after = state(folder, per_job)
                lost, before = lost + len(before - after), after
                kills.append({"round": rounds, "seconds": round(moment, 2), "batches_done": len(after)})
                total = len(BUDGETS) * per_job
                print(f"kill {len(kills)}: after {moment:.2f} s, {len(after)} of {total} batches done", flush=True)
            found = samples(folder)
            keys = [(row["budget"], row["problem"], row["sample"]) for row in found]
            doubled += len(keys) - len(set(keys))
            lost += len(expected) - len(set(keys))
            different += sum(a != b for a, b in zip(found, expected, strict=False))
            left = sorted(path.name for path in folder.iterdir())
            if left != ["results.json", "samples.jsonl"]:
                sys.exit(f"a finished evaluation left {left}")
    result = {
        "num_kills": len(kills), "rounds": rounds, "samples_per_round": len(expected),
        "batches_per_round": len(BUDGETS) * per_job, "seconds_undisturbed": round(whole, 2), "lost": lost,
        "doubled": doubled, "different": different, "kills": kills,
    }  # fmt: skip
    print({name: value for name, value in result.items() if name != "kills"})
    if args.output_path is not None:
        args.output_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output_path, {"result": result, "provenance": provenance()})
    sys.exit(1 if lost or doubled or different else 0)


if __name__ == "__main__":
    main()
