"""B'MOJO measured: recall beyond the window, speed of training and of decoding, bytes of the cache.

    python scripts/bench_bmojo.py mqar              # recall; resumable (--ledger), or a part of it (--parts)
    python scripts/bench_bmojo.py speed             # training tokens/s, L = 1024
    python scripts/bench_bmojo.py decode            # ms a token against Llama, after --contexts 8192,32768
    python scripts/bench_bmojo.py bytes             # of the cache
    python scripts/bench_bmojo.py swaps             # tokens kept: chunks against steps, by dtype
    python scripts/bench_bmojo.py rollout           # log-probabilities of roll-outs against those of training

The same commands run on a CPU and on a GPU. Each writes docs/results/bmojo_<command>.json.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

VOCABULARY = 8192
RATES = (2e-3, 5e-3)
MODELS = ("bmojo", "bmojo_f", "sliding_window", "mamba2")
SIZES = (4, 8, 16, 24, 32)


def mqar_cells(part: str) -> list[tuple]:
    """(setting, models) of a part of the study."""
    from mqar import CONTROLS, Setting

    own = {64: Setting(64, 8, eidetic_size=24), 128: Setting(128, 8, eidetic_size=24),
           256: Setting(256, 16, eidetic_size=48)}  # fmt: skip
    # Uniform distances: with Zoology's most queries come while the set could still hold every token before it.
    late = replace(own[128], gaps="uniform")
    return {
        "64": [(own[64], MODELS)],
        "128": [(own[128], MODELS)],
        "256": [(own[256], MODELS)],
        # What the models without a set of kept tokens reach with six times the steps.
        "longer": [(replace(own[64], steps=3000), ("bmojo_f", "mamba2"))],
        "selection": [(replace(late, eidetic_size=16), ("bmojo", *CONTROLS))],
        "sizes": [(replace(late, eidetic_size=size), ("bmojo",)) for size in SIZES],
        "filler": [(replace(own[128], filler="random"), ("bmojo", "random", "recency"))],
    }[part]


def run_mqar(args, device) -> dict:
    """Every rate with the first seed, the other seeds with the best rate. Finished runs are read from the ledger."""
    import torch
    from mqar import builders, describe, matched, mixing_parameters, mixing_parameters_of, train

    args.ledger.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in args.ledger.read_text().splitlines()] if args.ledger.exists() else []

    def run(setting, name: str, rate: float, seed: int) -> float:
        key = {"model": name, "rate": rate, "seed": seed, "setting": describe(setting)}
        for row in rows:
            if key.items() <= row.items():
                return row["accuracy"]
        build = builders(setting)
        torch.manual_seed(seed)
        model, width = matched(build[name], mixing_parameters_of(build["bmojo"], setting.width))
        print(f"{name}, width {width}, rate {rate:.1e}, seed {seed}, {setting}", flush=True)
        result = train(model.to(device), setting, rate, seed)
        sizes = {"width": width, "mixing_parameters": mixing_parameters(model), "parameters": model.num_parameters()}
        rows.append({**key, **sizes, **result})
        with open(args.ledger, "a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        return result["accuracy"]

    rates, seeds = [float(rate) for rate in args.rates.split(",")], [int(seed) for seed in args.seeds.split(",")]
    for part in args.parts.split(","):
        for setting, names in mqar_cells(part):
            setting = replace(setting, steps=args.steps or setting.steps)
            for name in names:
                if args.models and name not in args.models.split(","):
                    continue
                best = max(rates, key=lambda rate: run(setting, name, rate, seeds[0]))  # noqa: B023
                for seed in seeds[1:]:
                    run(setting, name, best, seed)
    return {"summary": summary(rows), "runs": [{k: v for k, v in row.items() if k != "curve"} for row in rows]}


def summary(rows: list[dict]) -> list[dict]:
    """For each setting and model the best rate (by the mean over its seeds), its accuracies, and what the set held."""
    cells = {}
    for row in rows:
        key = json.dumps(row["setting"], sort_keys=True), row["model"]
        cells.setdefault(key, {}).setdefault(row["rate"], []).append(row)
    found = []
    for (setting, name), by_rate in cells.items():
        # The rate that every seed was run with: the best on the first seed.
        best = max(by_rate, key=lambda rate: (len(by_rate[rate]), by_rate[rate][0]["accuracy"]))  # noqa: B023
        runs = by_rate[best]
        found.append(
            {"setting": json.loads(setting), "model": name, "rate": best, "seeds": [row["seed"] for row in runs],
             "width": runs[0]["width"], "mixing_parameters": runs[0]["mixing_parameters"],
             "accuracies": [row["accuracy"] for row in runs],
             "mean_accuracy": statistics.mean(row["accuracy"] for row in runs),
             "steps": [row["curve"][-1]["step"] for row in runs],
             "needed": [row["needed"] for row in runs if "needed" in row]}
        )  # fmt: skip
    return found


def speed_models(args) -> dict:
    """B'MOJO, Llama and Mamba-2 with about the same number of parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM

    heads = args.width // 64
    common = {"vocab_size": VOCABULARY, "hidden_size": args.width, "num_attention_heads": heads}
    llama = LlamaForCausalLM(
        LlamaConfig(
            **common, num_hidden_layers=args.layers, intermediate_size=4 * args.width,
            max_position_embeddings=65536, tie_word_embeddings=True,
        )
    )  # fmt: skip
    target = sum(p.numel() for p in llama.parameters())

    def bmojo_of(intermediate):
        return BMojoForCausalLM(
            BMojoConfig(
                **common, num_hidden_layers=args.layers, intermediate_size=intermediate, sliding_window=args.window,
                eidetic_size=args.eidetic_size, max_position_embeddings=65536, tie_word_embeddings=True,
            )
        )  # fmt: skip

    # The MLP gives what the state-space model takes.
    extra = sum(p.numel() for p in bmojo_of(4 * args.width).parameters()) - target
    narrower = extra // (3 * args.width * args.layers)
    own = bmojo_of(max(64, 4 * args.width - narrower))
    from mqar import mamba2, mixing_parameters_of

    layer = mixing_parameters_of(lambda width: mamba2(width, VOCABULARY, 1, 64, 64), args.width)
    layers = max(1, round((target - VOCABULARY * args.width) / layer))
    other = mamba2(args.width, VOCABULARY, layers, 64, 64)
    return {"bmojo": own, "llama": llama, "mamba2": other}


def seconds(function, device) -> float:
    """Of the GPU's clock; on a CPU with one thread, of this process alone, so that others on the machine count less."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def run_speed(args, device) -> dict:
    import torch

    models = {name: model.to(device).train() for name, model in speed_models(args).items()}
    ids = torch.randint(1, VOCABULARY, (args.batch_size, args.length), device=device)
    rounds = {name: [] for name in models}

    def step(model):
        model.zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()

    for i in range(args.rounds + 1):
        for name in list(models) if i % 2 else list(models)[::-1]:
            rounds[name].append(ids.numel() / seconds(lambda name=name: step(models[name]), device))
            print(f"round {i}: {name} {rounds[name][-1]:.0f} tokens/s", flush=True)
    rounds = {name: values[1:] for name, values in rounds.items()}  # the first is warm-up
    return {
        "length": args.length,
        "batch_size": args.batch_size,
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
        "tokens_per_second": rounds,
        "median_ratio": {
            f"bmojo/{other}": statistics.median(a / b for a, b in zip(rounds["bmojo"], rounds[other], strict=True))
            for other in ("llama", "mamba2")
        },
    }


def bmojo_cache(model, ids, part: int = 1024):
    """The cache after these tokens, given in parts."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    for piece in ids.split(part, dim=1):
        model.base_model(piece, past_key_values=cache, use_cache=True)
    return cache


def llama_cache(model, context: int, room: int, device):
    """A static cache that holds `context` tokens; zeros, since the time of a step depends on its shape alone."""
    import torch
    from transformers import StaticCache

    config = model.config
    cache = StaticCache(config=config, max_cache_len=context + room)
    shape = (1, config.num_key_value_heads, context, config.head_dim)
    for layer in range(config.num_hidden_layers):
        zeros = torch.zeros(shape, device=device, dtype=model.dtype)
        cache.update(zeros, zeros, layer)
    return cache


def run_decode(args, device) -> dict:
    import torch

    models = speed_models(args)
    models = {name: models[name].to(device).eval() for name in ("bmojo", "llama")}
    token = torch.ones(1, 1, dtype=torch.long, device=device)
    results = {}
    with torch.inference_mode():
        for context in map(int, args.contexts.split(",")):
            ids = torch.randint(1, VOCABULARY, (1, context), device=device)
            room = (args.rounds + 1) * args.steps
            caches = {
                "bmojo": bmojo_cache(models["bmojo"], ids),
                "llama": llama_cache(models["llama"], context, room, device),
            }

            def decode(name, caches=caches):
                for _ in range(args.steps):
                    models[name](token, past_key_values=caches[name], use_cache=True)

            times = {name: [] for name in models}
            for i in range(args.rounds + 1):
                for name in list(models) if i % 2 else list(models)[::-1]:
                    times[name].append(1000 * seconds(lambda name=name: decode(name), device) / args.steps)
            times = {name: values[1:] for name, values in times.items()}
            ratio = statistics.median(a / b for a, b in zip(times["bmojo"], times["llama"], strict=True))
            results[str(context)] = {"ms_per_token": times, "median_ratio_bmojo_llama": ratio}
            print(
                f"context {context}: { ({n: round(statistics.median(v), 2) for n, v in times.items()}) } ms", flush=True
            )
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    return {"parameters": parameters, "contexts": results}


def run_bytes(args, device) -> dict:
    import torch

    model = speed_models(args)["bmojo"].to(device).eval()
    config, sizes = model.config, {}
    with torch.inference_mode():
        for context in map(int, args.contexts.split(",")):
            cache = bmojo_cache(model, torch.randint(1, VOCABULARY, (1, context), device=device))
            per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
            sizes[str(context)] = {
                "bmojo": sum(layer.num_bytes() for layer in cache.layers),
                "full_attention": context * per_token * model.dtype.itemsize,
            }
            print(context, sizes[str(context)], flush=True)
    return {"bytes": sizes}


def run_swaps(args, device) -> dict:
    """How often two forms of the same computation keep other tokens, and what that does to the logits.

    Sequences go through the model chunk by chunk and one token at a time, in float64, float32 and bfloat16. A swap is a
    token that one form's set holds and the other's does not, counted after every chunk in every layer.
    """
    import torch
    from transformers import DynamicCache

    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM

    heads = args.width // 64
    model = BMojoForCausalLM(
        BMojoConfig(
            vocab_size=VOCABULARY, hidden_size=args.width, num_hidden_layers=args.layers, num_attention_heads=heads,
            sliding_window=args.window, eidetic_size=args.eidetic_size, initializer_range=0.1,
        )
    )  # fmt: skip
    model = model.to(device).eval()
    ids = torch.randint(1, VOCABULARY, (args.batch_size, args.length), device=device)

    @torch.inference_mode()
    def forward(model, part: int):
        cache, sets, logits = DynamicCache(config=model.config), [], []
        for begin in range(0, args.length, part):
            out = model(ids[:, begin : begin + part], past_key_values=cache, use_cache=True)
            logits.append(out.logits.double())
            if (begin + part) % args.window == 0:
                tensors = [layer.tensors for layer in cache.layers]
                empty = torch.stack([t["eidetic_score"] for t in tensors]).isinf()
                sets.append(torch.stack([t["eidetic_position"] for t in tensors]).masked_fill(empty, -1))
        return torch.stack(sets, 2), torch.cat(logits, 1)  # (layers, batch, chunks, M); (batch, tokens, vocabulary)

    found, reference = {}, None
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        copied = model.to(dtype)
        forms = forward(copied, args.window), forward(copied, 1)
        reference = reference or forms[0]
        for name, (a, b) in {"chunks_or_steps": forms, "this_or_float64": (forms[0], reference)}.items():
            kept = a[0] >= 0
            missing = kept & ~(a[0][..., None] == b[0][..., None, :]).any(-1)
            agree = ~missing.flatten(2).any(-1).any(0)  # rows whose sets were the same all the time, in all layers
            distance = (a[1] - b[1]).abs().amax((1, 2))
            found.setdefault(str(dtype).removeprefix("torch."), {})[name] = {
                "tokens_kept": int(kept.sum()),
                "share_swapped": missing.sum().item() / kept.sum().item(),
                "rows_without_a_swap": agree.double().mean().item(),
                "max_logit_distance_without_a_swap": distance[agree].max().item() if agree.any() else None,
                "max_logit_distance": distance.max().item(),
            }
    print(json.dumps(found, indent=1))
    return found


def run_rollout(args, device) -> dict:
    """|log p(roll-out) - log p(training)| of each sampled token: what GRPO assumes to be zero.

    Roll-outs are sampled with a cache, in a batch padded on the left, as TRL does; the training side is one forward
    pass over prompt and completion.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import timecost.models.bmojo  # noqa: F401  registers the class
    from timecost.tasks import arithmetic, resolve_model

    found = {}
    for name in args.models.split(","):
        for dtype in (torch.float32, torch.bfloat16):
            folder = resolve_model(name)
            tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
            prompts = [problem.prompt for problem in arithmetic.problems("validation", args.num_problems)]
            inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
            torch.manual_seed(0)
            out = model.generate(
                **inputs, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=arithmetic.MAX_COMPLETION_LENGTH,
                output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
            width = inputs["input_ids"].shape[1]
            completion = out.sequences[:, width:]
            rolled = torch.stack(out.logits, 1).float().log_softmax(-1).gather(2, completion[..., None])[..., 0]
            ends = (completion == tokenizer.eos_token_id).long()
            written = ends.cumsum(1) - ends == 0
            mask = torch.cat([inputs["attention_mask"], written.long()], 1)
            with torch.no_grad():
                logits = model(out.sequences, attention_mask=mask, use_cache=False).logits[:, width - 1 : -1]
            trained = logits.float().log_softmax(-1).gather(2, completion[..., None])[..., 0]
            distance = (rolled - trained).abs()[written]
            key = str(dtype).removeprefix("torch.")
            found.setdefault(name, {})[key] = {
                "tokens": int(written.sum()), "max": distance.max().item(), "mean": distance.mean().item(),
                "share_above_0.1": (distance > 0.1).double().mean().item(),
            }  # fmt: skip
            print(name, key, found[name][key], flush=True)
    return found


RUNS = {
    "mqar": run_mqar, "speed": run_speed, "decode": run_decode, "bytes": run_bytes, "swaps": run_swaps,
    "rollout": run_rollout,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in RUNS:
        sub = commands.add_parser(name)
        sub.add_argument("--device", default=None, help="cpu or cuda; the GPU where there is one")
        sub.add_argument("--threads", type=int, default=1)
        sub.add_argument("--output_path", type=Path, default=Path(f"docs/results/bmojo_{name}.json"))
        if name == "mqar":
            sub.add_argument("--parts", default="64,128,256,longer,selection,sizes,filler", help="see mqar_cells")
            sub.add_argument("--models", default="", help="only these")
            sub.add_argument("--rates", default=",".join(map(str, RATES)), help="learning rates, the same for all")
            sub.add_argument("--seeds", default="0,1,2")
            sub.add_argument("--steps", type=int, default=0, help="0: those of the setting")
            sub.add_argument("--ledger", type=Path, default=Path("outputs/bmojo_mqar.jsonl"))
            continue
        if name == "rollout":
            sub.add_argument("--models", default="arithmetic_base_bmojo,arithmetic_base", help="folders or names")
            sub.add_argument("--num_problems", type=int, default=128)
            continue
        swaps = name == "swaps"
        sub.add_argument("--width", type=int, default=128 if swaps else 512)
        sub.add_argument("--window", type=int, default=16 if swaps else 128)
        sub.add_argument("--eidetic_size", type=int, default=16 if swaps else 64)
        sub.add_argument("--layers", type=int, default=6 if name in ("speed", "decode") else 2)
        if name in ("speed", "swaps"):
            sub.add_argument("--length", type=int, default=256 if swaps else 1024)
            sub.add_argument("--batch_size", type=int, default=16 if swaps else 1)
        if name == "decode":
            sub.add_argument("--steps", type=int, default=16, help="tokens a round")
        if name in ("speed", "decode"):
            sub.add_argument("--rounds", type=int, default=5)
        if name in ("decode", "bytes"):
            sub.add_argument("--contexts", default="8192,32768" if name == "decode" else "2048,8192,32768")
    args = parser.parse_args()

    import torch

    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    torch.set_num_threads(args.threads)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(0)
    result = RUNS[args.command](args, device)
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(args).items() if name != "command"}
    write_json(args.output_path, {"settings": settings, "result": result, "provenance": provenance()})


if __name__ == "__main__":
    main()
