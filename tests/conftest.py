"""Settings and fixtures that several test files share: offline, one thread, tiny models, the public datasets."""

import json
import os
import shutil
from pathlib import Path

import pytest

# Before anything imports torch or a Hugging Face library.
for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}
{%- endif -%}
"""


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public datasets, from TIMECOST_DATA_DIR. Without it: skipped here, an error where CI is set."""
    value = os.environ.get("TIMECOST_DATA_DIR")
    if value and Path(value).is_dir():
        return Path(value)
    reason = f"TIMECOST_DATA_DIR is {'not a folder: ' + value if value else 'not set'}: the datasets are not tested"
    if value or os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_arithmetic(tmp_path_factory) -> str:
    """Folder of an untrained Llama of 2 layers, 32 wide, with the tokenizer of the arithmetic task."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from timecost.tasks.arithmetic import build_tokenizer

    tokenizer = build_tokenizer()
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=256,
        tie_word_embeddings=True, **_token_ids(tokenizer),
    )  # fmt: skip
    return _save(LlamaForCausalLM, config, tokenizer, tmp_path_factory.mktemp("tiny_arithmetic"))


@pytest.fixture(scope="session")
def with_ladder(tiny_arithmetic, tmp_path_factory) -> str:
    """Folder of the same untrained Llama with a ladder of budgets, 8 and 16, in its config."""
    folder = shutil.copytree(tiny_arithmetic, tmp_path_factory.mktemp("budgets") / "with_ladder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"budgets": [8, 16]}))
    return str(folder)


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory) -> str:
    """Folder of an untrained Qwen3 of 2 layers, 32 wide, with a byte-level tokenizer and a ChatML template.

    As in Qwen3, `<think>` and `</think>` are single tokens that decoding keeps, the model opens its own thinking, and
    the template variable `enable_thinking=False` closes it in advance.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = build_chat_tokenizer()
    config = Qwen3Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, max_position_embeddings=1024, tie_word_embeddings=True, **_token_ids(tokenizer),
    )  # fmt: skip
    return _save(Qwen3ForCausalLM, config, tokenizer, tmp_path_factory.mktemp("tiny_qwen3"))


def build_chat_tokenizer():
    """One token per byte of UTF-8, and the tokens of ChatML and of thinking."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="left",
        extra_special_tokens=["<|im_start|>"], chat_template=CHAT_TEMPLATE, model_max_length=1024,
    )  # fmt: skip


def _token_ids(tokenizer) -> dict[str, int | None]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _save(model_class, config, tokenizer, folder: Path) -> str:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
