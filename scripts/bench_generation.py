"""What the guard of a budget costs: decoding with it against decoding without, the same tokens, in pairs.

    python scripts/bench_generation.py

A random Llama writes a fixed number of tokens after random prompts, by the likeliest token; the guard holds bounds that
are not reached, so both write the same (checked). Rounds alternate the order; the result is the median over rounds of
the ratio of their times, for batches of 1 and 32. Writes docs/results/generation.json.
"""

import argparse
import statistics
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--num_tokens", type=int, default=64)
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--num_layers", type=int, default=6)
    parser.add_argument("--vocab_size", type=int, default=32000)
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/generation.json"))
    args = parser.parse_args()

    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, LogitsProcessorList

    from timecost.evaluation.results import write_json
    from timecost.forcing import BudgetGuard
    from timecost.provenance import provenance

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=args.vocab_size, hidden_size=args.hidden_size, intermediate_size=3 * args.hidden_size,
        num_hidden_layers=args.num_layers, num_attention_heads=args.hidden_size // 64, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(device).eval()
    generation = GenerationConfig(max_new_tokens=args.num_tokens, min_new_tokens=args.num_tokens, pad_token_id=0,
                                  eos_token_id=1, suppress_tokens=[2, 3])  # fmt: skip

    def timed(batch: int, guarded: bool):
        prompts = torch.randint(4, args.vocab_size, (batch, 16), generator=torch.Generator().manual_seed(0)).to(device)
        bounds = [10 * args.num_tokens] * batch
        guard = BudgetGuard(bounds, [False] * batch, 16, 2, [1], [3], 10 * args.num_tokens)
        start = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                prompts, attention_mask=torch.ones_like(prompts), generation_config=generation,
                logits_processor=LogitsProcessorList([guard] if guarded else []),
            )  # fmt: skip
        out = out.cpu()
        return time.perf_counter() - start, out

    result = {"parameters": model.num_parameters(), "num_tokens": args.num_tokens, "device": device}
    for batch in (1, 32):
        ratios = []
        for number in range(args.rounds + 1):  # the first is the warm-up
            times, outputs = {}, {}
            for guarded in (True, False) if number % 2 else (False, True):
                times[guarded], outputs[guarded] = timed(batch, guarded)
            assert torch.equal(outputs[True], outputs[False])
            ratios += [times[True] / times[False]] if number else []
        result[f"ratio_batch_{batch}"] = statistics.median(ratios)
        result[f"ratios_batch_{batch}"] = [round(ratio, 4) for ratio in ratios]
        print(f"batch {batch}: with the guard {result[f'ratio_batch_{batch}']:.3f} of the time without")
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.output_path, {"result": result, "provenance": provenance()})


if __name__ == "__main__":
    main()
