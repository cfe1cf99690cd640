"""What a B'MOJO layer keeps between calls: a constant number of bytes, however long the sequence.

`DynamicCache(config=model.config)`, which `generate()` makes, finds this class by its layer type.
"""

import torch
from transformers.cache_utils import STATIC_LAYER_TYPE_MAPPING, CacheLayerMixin


class BMojoCacheLayer(CacheLayerMixin):
    """State of one layer. Tensors are made at the first use, from what the layer hands over.

    lengths: tokens seen in each row, without padding; a row is in chunk lengths[row] // W.
    tensors: all (batch, ...); key, value, score: chunks c-1 and c; fading_key, fading_value: chunks c-2 to c;
        eidetic_key, eidetic_value, eidetic_score, eidetic_position: the set of chunk c; conv, qk_conv, ssm, past: the
        last inputs of the convolutions, the SSM's state, the last SSM outputs for the innovation test.
    """

    _layer_type = "bmojo"
    is_compileable = False
    is_croppable = False
    supports_early_init = False

    def __init__(self, **kwargs):
        super().__init__()
        self.tensors: dict[str, torch.Tensor] = {}
        self.lengths: list[int] = []
        self.seen = 0

    def lazy_initialization(self, key_states, value_states=None) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def store(self, tensors: dict[str, torch.Tensor], lengths: list[int], num_new: int) -> None:
        """Replace the tensors that are named, and note how many tokens came, with and without padding."""
        if not self.is_initialized:
            self.lazy_initialization(next(iter(tensors.values())))
        self.tensors.update({name: tensor.detach() for name, tensor in tensors.items()})
        self.lengths = list(lengths)
        self.seen += num_new

    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def update(self, key_states, value_states, *args, **kwargs):
        raise ValueError("this cache belongs to B'MOJO: another model cannot use it, make one with its own config")

    def get_seq_length(self) -> int:
        """Tokens seen, padding included."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.seen + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        self.tensors, self.lengths, self.seen, self.is_initialized = {}, [], 0, False

    def offload(self) -> None:
        self.tensors = {name: tensor.to("cpu", non_blocking=True) for name, tensor in self.tensors.items()}

    def prefetch(self) -> None:
        if self.is_initialized:
            self.tensors = {name: tensor.to(self.device, non_blocking=True) for name, tensor in self.tensors.items()}

    def crop(self, tokens_to_remove: int) -> None:
        raise ValueError("a B'MOJO cache cannot forget its last tokens: crop is not supported, compute it again")

    def activate_past_recording(self) -> None:
        raise ValueError("a B'MOJO cache cannot be rolled back, so assisted decoding is not supported: leave it out")

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the given rows, in their order."""
        if not self.is_initialized:
            return
        rows = torch.arange(len(self.lengths))[indices.cpu()].tolist()
        index = torch.tensor(rows, device=self.device)
        self.tensors = {name: tensor.index_select(0, index) for name, tensor in self.tensors.items()}
        self.lengths = [self.lengths[row] for row in rows]

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.batch_select_indices(torch.arange(len(self.lengths)).repeat_interleave(repeats))


# The size is constant, so that `cache_implementation="static"` means the same.
STATIC_LAYER_TYPE_MAPPING["bmojo"] = BMojoCacheLayer
