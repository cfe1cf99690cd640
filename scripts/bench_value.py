"""What the value head costs: decoding with it against decoding without, and a training step, in processor time.

    python scripts/bench_value.py

Decoding: a head that always goes on, with a peek at each boundary and without, so that all three write the same tokens
(checked), one prompt at a time; the embedded model on problems of its own, and a random Llama of more than 100 million
parameters with steps of 16 tokens. A training step: the embedded base with learning rate 0 and the same
completions (checked), alone, with the updates of the head, and with its probes too. Rounds change the order; the result
is the median over rounds of the ratio of processor times, which other processes on the machine do not lengthen much.
Writes docs/results/value_overhead.json.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path


def decoding(model, prompts, step_rule, think_end_id: int, num_tokens: int, rounds: int) -> dict:
    """Microseconds a token without a head, and what a head adds to it, for prompts of token ids (1, L)."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    from timecost.value.head import ValueHead, ValueHeadConfig
    from timecost.value.stopping import StopRule, ValueGuard

    size, eos = model.config.hidden_size, model.config.eos_token_id
    generation = GenerationConfig(
        max_new_tokens=num_tokens, min_new_tokens=num_tokens, do_sample=False, pad_token_id=0, eos_token_id=eos,
        suppress_tokens=[think_end_id],
    )  # fmt: skip
    heads = {"alone": None}
    for name, peek in (("no_peek", False), ("peek", True)):
        heads[name] = ValueHead(ValueHeadConfig(size, (0, 1, 2, 4, 8, 16, 32, 64), peek=peek, width=128,
                                                step_rule=step_rule)).eval()  # fmt: skip
        torch.nn.init.ones_(heads[name].closed[-1].bias)

    def timed(head):
        written, looks, start = [], 0, time.process_time()
        for ids in prompts:
            guard = None
            if head is not None:
                rule = StopRule(0.0)
                guard = ValueGuard(model, head, rule, [False], ids.shape[1], think_end_id, [eos])
                guard.__enter__()
            with torch.inference_mode():
                out = model.generate(
                    ids, attention_mask=torch.ones_like(ids), generation_config=generation,
                    logits_processor=LogitsProcessorList([guard] if guard else []),
                )  # fmt: skip
            if guard:
                guard.__exit__()
                looks += int(guard.looks.sum())
            written.append(out[0, ids.shape[1] :].tolist())
        return time.process_time() - start, written, looks

    seconds = {name: [] for name in heads}
    for number in range(rounds + 1):  # the first is the warm-up
        names = list(heads)
        names = names[number % 3 :] + names[: number % 3]
        found = {name: timed(heads[name]) for name in names}
        if any(written != found["alone"][1] for _, written, _ in found.values()):
            raise SystemExit("the head changed what was written: the comparison would mean nothing")
        for name, (taken, _, _) in found.items():
            seconds[name] += [taken] if number else []
    total = len(prompts) * num_tokens
    out = {"parameters": model.num_parameters(), "tokens": total, "looks": found["peek"][2],
           "tokens_between_looks": round(total / max(1, found["peek"][2]), 1),
           "microseconds_alone": round(1e6 * statistics.median(seconds["alone"]) / total, 1)}  # fmt: skip
    for name in ("no_peek", "peek"):
        pairs = list(zip(seconds[name], seconds["alone"], strict=True))
        out[f"{name}_added_microseconds"] = round(1e6 * statistics.median(a - b for a, b in pairs) / total, 1)
        out[f"{name}_ratio"] = round(statistics.median(a / b for a, b in pairs), 4)
        out[f"{name}_ratios"] = [round(a / b, 4) for a, b in pairs]
    print(out, flush=True)
    return out


def embedded(rounds: int) -> dict:
    from timecost.loading import load_model_to_use
    from timecost.tasks import get_task
    from timecost.value.steps import step_rule

    model, tokenizer = load_model_to_use("arithmetic_base")
    task = get_task("arithmetic")
    prompts = [tokenizer(row["prompt"], return_tensors="pt")["input_ids"] for row in task.load("test", 8)]
    think_end = tokenizer.convert_tokens_to_ids("</think>")
    return decoding(model, prompts, step_rule(tokenizer, task.step_end), think_end, 48, rounds)


def large(every: int, rounds: int) -> dict:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from timecost.value.steps import StepRule

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
        pad_token_id=0, eos_token_id=1, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    return decoding(model, [torch.randint(4, 32000, (1, 32))], StepRule(every=every), 2, 64, rounds)


# A training step ------------------------------------------------------------------------------------------------------


def training(mode: str, steps: int) -> tuple[float, str]:
    """Processor seconds a step, the first two left out as warm-up, and a hash of all completions."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from timecost.config import TimeCostConfig
    from timecost.tasks import get_task, resolve_model
    from timecost.train import joint_value
    from timecost.trainer import TimeCostTrainer

    task, seen, marks = get_task("arithmetic"), hashlib.sha256(), []

    def verifier(completions, **columns):
        seen.update("\n".join(completions).encode())
        return task.reward(completions, **columns)

    class Marks(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            marks.append(time.process_time())

        def on_train_end(self, args, state, control, **kwargs):
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        args = TimeCostConfig(
            output_dir=folder, learning_rate=0.0, per_device_train_batch_size=128, num_generations=8,
            max_completion_length=96, max_steps=steps + 2, save_strategy="no", report_to="none", disable_tqdm=True,
            use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1000, seed=0,
            value_head=mode != "alone",
        )  # fmt: skip
        path = resolve_model("arithmetic_base")
        tokenizer = AutoTokenizer.from_pretrained(path)
        joint = joint_value(args, task, tokenizer)
        if mode == "updates":
            observe = joint.observe

            def updates_alone(*given):
                if joint.head is None:
                    return observe(*given)
                joint._update()
                return {}

            joint.observe = updates_alone
        TimeCostTrainer(
            model=AutoModelForCausalLM.from_pretrained(path), args=args, callbacks=[Marks()], verifier=verifier,
            train_dataset=task.load("train", 1000), processing_class=tokenizer, joint_value=joint,
        ).train()  # fmt: skip
    return (marks[-1] - marks[2]) / steps, seen.hexdigest()


def train_steps(rounds: int, steps: int) -> dict:
    modes = ["alone", "updates", "probes"]
    seconds = {mode: [] for mode in modes}
    for i in range(rounds):  # each with warm-up steps of its own
        hashes = set()
        for mode in modes[i % 3 :] + modes[: i % 3]:
            taken, digest = training(mode, steps)
            seconds[mode].append(round(taken, 4))
            hashes.add(digest)
        if len(hashes) > 1:
            raise SystemExit("the head changed the completions: the comparison would mean nothing")
        print({mode: taken[-1] for mode, taken in seconds.items()}, flush=True)
    out = {"seconds": seconds}
    for mode in modes[1:]:
        ratios = [a / b for a, b in zip(seconds[mode], seconds["alone"], strict=True)]
        out[f"{mode}_ratio"], out[f"{mode}_ratios"] = round(statistics.median(ratios), 4), [round(r, 4) for r in ratios]
    return out


PARTS = {
    "decoding_embedded": lambda args: embedded(args.rounds),
    "decoding_large": lambda args: large(16, args.rounds),
    "training": lambda args: train_steps(args.train_rounds, args.steps),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="of decoding")
    parser.add_argument("--train_rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="timed steps a round")
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/value_overhead.json"))
    args = parser.parse_args()

    import torch

    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    torch.set_num_threads(1)
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    for name in args.parts:
        found = {name: {**PARTS[name](args), "provenance": provenance()}}
        old = json.loads(args.output_path.read_text())["result"] if args.output_path.exists() else {}
        write_json(args.output_path, {"result": {**old, **found}})
    print(f"wrote {args.output_path}")


if __name__ == "__main__":
    main()
