"""What the objective adds to a training step: TimeCostTrainer against TRL's GRPOTrainer on identical completions.

    python scripts/bench_step_time.py --rounds 6 --steps 4

Both train the embedded base with learning rate 0 and the same seed, so every step sees the same completions (checked
by hash). Rounds alternate the order of the two; the result is the median over rounds of the ratio of their step times,
once with one micro-batch a step and once with four, which TimeCostTrainer sorts by length.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path


def timed_run(trainer_class, micro_batches: int, steps: int) -> tuple[float, str]:
    """Mean seconds a step, the first step left out as warm-up, and a hash of all completions."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from timecost.config import TimeCostConfig
    from timecost.tasks import get_task, resolve_model
    from timecost.trainer import TimeCostTrainer

    task = get_task("arithmetic")
    seen, marks = hashlib.sha256(), []

    def verifier(completions, **columns):
        seen.update("\n".join(completions).encode())
        return task.reward(completions, **columns)

    class Marks(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            marks.append(time.perf_counter())

        def on_train_end(self, args, state, control, **kwargs):
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        args = TimeCostConfig(
            output_dir=folder, learning_rate=0.0, per_device_train_batch_size=128 // micro_batches,
            gradient_accumulation_steps=micro_batches, num_generations=8, max_completion_length=96,
            max_steps=steps + 1, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True, bf16=False,
            gradient_checkpointing=False, logging_steps=1000, seed=0,
        )  # fmt: skip
        folder = resolve_model("arithmetic_base")
        rewards = {"verifier": verifier} if trainer_class is TimeCostTrainer else {"reward_funcs": verifier}
        trainer_class(
            model=AutoModelForCausalLM.from_pretrained(folder), args=args, callbacks=[Marks()], **rewards,
            train_dataset=task.load("train", 1000), processing_class=AutoTokenizer.from_pretrained(folder),
        ).train()  # fmt: skip
    return (marks[-1] - marks[1]) / steps, seen.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4, help="timed steps a round")
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/step_time.json"))
    args = parser.parse_args()

    import torch
    from trl import GRPOTrainer

    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance
    from timecost.trainer import TimeCostTrainer

    torch.set_num_threads(1)
    result = {}
    for micro_batches in (1, 4):
        ratios, seconds = [], {"GRPOTrainer": [], "TimeCostTrainer": []}
        for i in range(args.rounds):
            order = [GRPOTrainer, TimeCostTrainer] if i % 2 == 0 else [TimeCostTrainer, GRPOTrainer]
            times, hashes = zip(*(timed_run(cls, micro_batches, args.steps) for cls in order), strict=True)
            if len(set(hashes)) > 1:
                raise SystemExit("the two trainers saw different completions: the comparison would mean nothing")
            for cls, value in zip(order, times, strict=True):
                seconds[cls.__name__].append(round(value, 4))
            ratios.append(seconds["TimeCostTrainer"][-1] / seconds["GRPOTrainer"][-1])
        result[f"micro_batches={micro_batches}"] = {"median_ratio": statistics.median(ratios), "seconds": seconds}
        print(f"{micro_batches} micro-batches: ratio {statistics.median(ratios):.3f}, all {ratios}")
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.output_path, {"result": result, "provenance": provenance()})


if __name__ == "__main__":
    main()
