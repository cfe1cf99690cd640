"""What an evaluation costs beside the sampling itself: its throughput against `model.generate` alone.

    python scripts/bench_evaluate.py --output_path docs/results/evaluate_throughput.json

Both sides get the same model in memory, the same prompts in the same batches, and the same bound; one is
`timecost.evaluation.runner.run_jobs`, from prompts as text to verified samples and a record on the disk, the other
tokenized batches through `model.generate(do_sample=True)` and nothing else. They take turns in changing order; the
result is the median over rounds of the ratio of tokens per second. Two cases: the embedded base on arithmetic, a model
so small that everything beside it shows, and a random Qwen3 on GSM8K (TIMECOST_DATA_DIR or the hub).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path


def random_qwen3(hidden_size: int, num_layers: int, vocab_size: int):
    """An untrained Qwen3 in memory, and a byte-level tokenizer with a ChatML template."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    turns = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="left",
        chat_template=turns + "<|im_start|>assistant\n",
    )  # fmt: skip
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocab_size, hidden_size=hidden_size, intermediate_size=3 * hidden_size, head_dim=64,
        num_hidden_layers=num_layers, num_attention_heads=hidden_size // 64, num_key_value_heads=hidden_size // 64,
        max_position_embeddings=8192, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval(), tokenizer


def alone(model, tokenizer, batches: list, length: int) -> int:
    """`model.generate` on tokenized batches; returns the number of tokens up to the ends of sequence."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, max_new_tokens=length, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    tokens = 0
    with torch.inference_mode():
        for batch in batches:
            output = model.generate(**batch, generation_config=config)[:, batch["input_ids"].shape[1] :]
            ends = (output == tokenizer.eos_token_id).int()
            tokens += int(((ends.cumsum(1) - ends) == 0).sum())
    return tokens


def compare(model, tokenizer, job, batch_size: int, rounds: int) -> dict:
    """Rounds of both sides on one job."""
    from timecost.evaluation.batches import plan
    from timecost.evaluation.jobs import encode_job
    from timecost.evaluation.runner import run_jobs

    encoded, length = encode_job(model, tokenizer, job), job.settings["max_completion_length"]
    batches = [
        tokenizer.pad({"input_ids": [encoded[problem] for problem, _ in batch]}, return_tensors="pt").to(model.device)
        for batch in plan(job, encoded)
    ]

    def ours() -> int:
        with tempfile.TemporaryDirectory() as folder:
            (record,) = run_jobs(folder, [job], lambda: (model, tokenizer))
            return round(record["tokens_mean"] * record["num_problems"] * record["num_samples"])

    sides = {"evaluate": ours, "generate": lambda: alone(model, tokenizer, batches, length)}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):  # the first is the warm-up
        for name in sorted(sides, reverse=bool(number % 2)):
            start = time.perf_counter()
            tokens = sides[name]()
            rate = tokens / (time.perf_counter() - start)
            if number:
                rates[name].append(round(rate, 1))
    ratios = [a / b for a, b in zip(rates["evaluate"], rates["generate"], strict=True)]
    return {
        "task": job.task.name, "parameters": model.num_parameters(), "num_batches": len(batches),
        "batch_size": batch_size, "max_completion_length": length, "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 4) for ratio in ratios], "tokens_per_second": rates,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--num_problems", type=int, default=1024, help="of arithmetic; an eighth of it of GSM8K")
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--num_layers", type=int, default=6)
    parser.add_argument("--vocab_size", type=int, default=32000)
    parser.add_argument("--output_path", type=Path)
    args = parser.parse_args()

    from timecost.evaluation.jobs import Settings, make_jobs
    from timecost.evaluation.results import write_json
    from timecost.loading import device, load_model_to_use
    from timecost.provenance import provenance
    from timecost.tasks import get_task

    def job_of(task: str, tokenizer, **settings):
        chat = tokenizer.chat_template is not None
        return make_jobs("m", get_task(task), [None], Settings(**settings), conversational=chat, model={})[0]

    cases = []
    model, tokenizer = load_model_to_use("arithmetic_base")
    settings = {"num_problems": args.num_problems, "num_samples": 2, "batch_size": 128}
    cases.append((model, tokenizer, job_of("arithmetic", tokenizer, **settings), 128))
    model, tokenizer = random_qwen3(args.hidden_size, args.num_layers, args.vocab_size)
    settings = {"num_problems": max(1, args.num_problems // 8), "num_samples": 1, "batch_size": 32}
    job = job_of("gsm8k", tokenizer, max_completion_length=128, **settings)
    cases.append((model.to(device()), tokenizer, job, 32))
    result = [compare(*case, args.rounds) for case in cases]
    for one in result:
        print(f"{one['task']}: {one['ratio']:.3f} of the tokens per second of model.generate alone, {one['ratios']}")
    if args.output_path is not None:
        args.output_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output_path, {"result": result, "provenance": provenance()})


if __name__ == "__main__":
    main()
