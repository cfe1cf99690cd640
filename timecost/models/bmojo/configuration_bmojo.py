"""Configuration of B'MOJO: the fields of Llama, and those of the three memories."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

AUTO_MAP = {
    "AutoConfig": "configuration_bmojo.BMojoConfig",
    "AutoModel": "modeling_bmojo.BMojoModel",
    "AutoModelForCausalLM": "modeling_bmojo.BMojoForCausalLM",
}
CHOICES = {
    "eidetic_policy": ("innovation", "threshold", "random", "recency"),
    "eidetic_positions": ("original", "compact"),
    "innovation_target": ("input", "output"),
    "ssm_backend": ("auto", "torch", "fla"),
}


@strict
class BMojoConfig(PreTrainedConfig):
    """Fields beyond those of Llama. Sizes are in tokens unless said otherwise. Raises ValueError for impossible ones.

    sliding_window: W, tokens that attention sees verbatim; also the size of a chunk.
    fading_window: W (the default) or 0; how many SSM outputs, those before the window, attention sees.
    eidetic_size: M, tokens kept verbatim beyond the window; 0 gives B'MOJO-F.
    eidetic_policy: which ones: `innovation` (the M that the SSM predicted worst), `threshold` (the first M whose
        innovation reaches eidetic_threshold), `random` or `recency` (controls for experiments).
    eidetic_positions: RoPE positions of these, `original`, or `compact`: M places just before the fading window.
    innovation_target: what the predictor guesses: `input`, that of the layer, by a map of rank innovation_rank, or
        `output`, the SSM's next one, by the convolution alone.
    innovation_kernel: how many past SSM outputs the predictor sees. innovation_loss_coef: weight of its loss.
    tie_memory_projections: SSM outputs use the keys' and values' own projections.
    qk_norm: RMSNorm on each head's queries and keys, as in Qwen3.
    qk_conv: taps of a causal convolution before queries and keys, which starts as the identity; 0 leaves it out.
    ssm_residual: the SSM's output is also added to the residual stream, so that short sequences train it too.
    ssm_*: state-space model (Mamba-2's); ssm_num_heads * ssm_head_dim is its width, the hidden size by default.
    ssm_backend: `torch`, the reference, which is what `auto` takes; `fla` uses flash-linear-attention on a GPU.
    """

    model_type = "bmojo"
    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int = 32000
    hidden_size: int = 1024
    intermediate_size: int | None = None
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False
    rope_parameters: dict | None = None
    attention_bias: bool = False
    attention_output_bias: bool | None = None
    attention_dropout: int | float = 0.0
    mlp_bias: bool = False
    sliding_window: int | None = 512
    fading_window: int | None = None
    eidetic_size: int = 128
    eidetic_policy: str = "innovation"
    eidetic_positions: str = "original"
    eidetic_threshold: float = 1.0
    innovation_target: str = "input"
    innovation_rank: int = 32
    innovation_kernel: int = 4
    innovation_loss_coef: float = 0.01
    tie_memory_projections: bool = True
    qk_norm: bool = False
    qk_conv: int = 3
    ssm_residual: bool = False
    ssm_state_size: int = 64
    ssm_num_heads: int | None = None
    ssm_head_dim: int = 64
    ssm_n_groups: int = 1
    ssm_conv_kernel: int = 4
    ssm_chunk_size: int = 64
    ssm_backend: str = "auto"
    layer_types: list[str] | None = None

    def __post_init__(self, **kwargs):
        if self.sliding_window is None or self.sliding_window < 1:
            needs = "eidetic_size needs a window: " if self.eidetic_size else ""
            raise ValueError(f"{needs}sliding_window must be at least 1, not {self.sliding_window}")
        if self.fading_window is None:
            self.fading_window = self.sliding_window
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.layer_types is None:
            self.layer_types = ["bmojo"] * self.num_hidden_layers
        if self.attention_output_bias is None:
            self.attention_output_bias = self.attention_bias
        if self.head_dim is None:
            _check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.ssm_num_heads is None:
            if self.has_ssm:
                name = "ssm_head_dim"
                _check_divides(name, self.ssm_head_dim, "hidden_size", self.hidden_size, "or set ssm_num_heads")
            self.ssm_num_heads = max(self.hidden_size // self.ssm_head_dim, 1)
        self._check()
        if not getattr(self, "auto_map", None):
            self.auto_map = dict(AUTO_MAP)
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict:
        """Without layer_types, which follow from the rest: transformers' Trainer reads a checkpoint's config as that of
        no model in particular, which knows only its own types."""
        return {name: value for name, value in super().to_dict().items() if name != "layer_types"}

    @property
    def has_ssm(self) -> bool:
        """Whether layers hold a state-space model; without one they are Llama's with a sliding window."""
        return bool(self.fading_window or self.eidetic_size or self.ssm_residual)

    def _check(self) -> None:
        if self.fading_window not in (0, self.sliding_window):
            raise ValueError(
                f"fading_window must be 0 or the size of sliding_window ({self.sliding_window}), "
                f"not {self.fading_window}"
            )
        if self.eidetic_size < 0:
            raise ValueError(f"eidetic_size must be at least 0, not {self.eidetic_size}")
        if self.eidetic_size and not (self.fading_window or self.ssm_residual):
            raise ValueError(
                "eidetic_size needs an SSM that learns: leave fading_window at sliding_window, or set ssm_residual"
            )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not '{getattr(self, name)}'")
        for name in (
            "innovation_rank",
            "innovation_kernel",
            "ssm_conv_kernel",
            "ssm_chunk_size",
            "ssm_state_size",
            "ssm_num_heads",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.qk_conv < 0:
            raise ValueError(f"qk_conv must be a number of taps, or 0 to leave it out, not {self.qk_conv}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary positions, not {self.head_dim}")
        _check_divides("num_key_value_heads", self.num_key_value_heads, "num_attention_heads", self.num_attention_heads)
        _check_divides("ssm_n_groups", self.ssm_n_groups, "ssm_num_heads", self.ssm_num_heads)

    def validate_layer_type(self):
        """Called by `@strict`: every layer is a B'MOJO layer."""
        if self.layer_types != ["bmojo"] * self.num_hidden_layers:
            raise ValueError(f"layer_types must be {self.num_hidden_layers} times 'bmojo', not {self.layer_types}")


def _check_divides(name: str, value: int, of: str, total: int, remedy: str = "") -> None:
    if value < 1 or total % value:
        advice = f": change one of them{', ' + remedy if remedy else ''}"
        raise ValueError(f"{name} ({value}) does not divide {of} ({total}){advice}")


__all__ = ["BMojoConfig"]
