"""DiT: the diffusion transformer with adaptive layer norms."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.aligned_input import beside
from fieldforge.diffusion.backbones.local_readout import LocalReadout
from fieldforge.diffusion.backbones.readout import Readout
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.grouping import Patches
from fieldforge.nn.places import first_places
from fieldforge.nn.transformer import Transformer
from fieldforge.ranges import Count, Whole


class PlacedVector(nn.Module):
    """Each token reads the vector (B, D) through a low-rank projection of its own → (B, tokens, width).

    Modulation is the same for all tokens: the blocks have to learn what the vector means at each place. This projection
    gives each place its own reading from the first layer on.
    """

    def __init__(self, vector_width: int, tokens: int, rank: int, width: int):
        super().__init__()
        self.rank = rank
        self.to_tokens = nn.Linear(vector_width, tokens * rank)
        self.to_width = nn.Linear(rank, width)

    def forward(self, vector: Tensor) -> Tensor:
        return self.to_width(self.to_tokens(vector).unflatten(-1, (-1, self.rank)))


class DiT(nn.Module):
    """Transformer on latent tokens, modulated by noise level and condition vector (Peebles & Xie 2022, "DiT").

    Tokens get learned positions. With a `condition_rank` each token also gets its own reading of the condition's vector
    (`PlacedVector`); with `cross_attention` every block attends to the condition's tokens. Zeros replace a missing
    vector or missing tokens, so that every weight takes part in every step. `grid`, `group` and `output_channels`: see
    the package and `Readout`, or with `detail` channels `LocalReadout`.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Whole,
        heads: Count,
        condition_width: Count,
        cross_attention: bool = False,
        qk_norm: bool = True,
        checkpointing: bool = False,
        output_channels: int | None = None,
        group: Count = 1,
        condition_rank: Whole = 0,
        detail: Whole = 0,
        grid: Sequence[int] | None = None,
        aligned_channels: Whole = 0,
    ):
        super().__init__()
        self.aligned_channels = aligned_channels
        self.patches = patches = Patches(tokens, group, "backbone.group", grid)
        self.cross_attention, self.condition_width = cross_attention, condition_width
        self.embed = nn.Linear(patches.size * (channels + aligned_channels), width)
        self.positions = nn.Parameter(first_places(patches.tokens, width, patches.grid, deviation=0.02))
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.embed_condition = nn.Linear(condition_width, width)
        self.place_condition: PlacedVector | None = None
        if condition_rank:
            self.place_condition = PlacedVector(condition_width, patches.tokens, condition_rank, width)
        context_width = condition_width if cross_attention else None
        self.transformer = Transformer(
            width, heads, layers, width, context_width, qk_norm=qk_norm, checkpointing=checkpointing
        )
        output_channels = output_channels or channels
        self.readout: nn.Module = Readout(patches, channels, output_channels, width)
        if detail:
            self.readout = LocalReadout(patches, channels, output_channels, width, detail)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        """x (B, T, C), noise_level (B,) → (B, T, output_channels)."""
        return self.output(x, noise_level, condition, self.transformer)

    def output(self, x: Tensor, noise_level: Tensor, condition: Condition, through: Callable[..., Tensor]) -> Tensor:
        """As `forward`; `through`: tokens, vector, context and its mask → tokens, the blocks."""
        zeros = x.new_zeros(len(x), 1, self.condition_width)
        steering = zeros[:, 0] if condition.vector is None else condition.vector
        vector = self.embed_noise_level(noise_level) + self.embed_condition(steering)  # (B, width)
        context, context_mask = self._context(condition, zeros) if self.cross_attention else (None, None)
        joined = self.patches.join(beside(x, condition, self.aligned_channels))  # (B, T / group, group · (C + A))
        tokens = self.embed(joined) + self.positions  # (B, T / group, width)
        if self.place_condition is not None:
            tokens = tokens + self.place_condition(steering)  # (B, T / group, width)
        tokens = through(tokens, vector, context, context_mask)  # (B, T / group, width)
        return self.readout(tokens, x, vector)  # (B, T, output_channels)

    @staticmethod
    def _context(condition: Condition, zeros: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, L, D) for cross-attention and their mask (B, L); a condition without tokens gives one token of
        zeros.
        """
        return (zeros, None) if condition.tokens is None else (condition.tokens, condition.mask)
