"""The recipe: how to quantize, as a value that the search varies and the report names."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How to quantize.

    Attributes:
        kind: ``static``, ``int16``, ``dynamic``, ``weights`` or ``none``.
        ranges: the method that the activations' ranges were chosen by; static kinds only.
        float_nodes: names of nodes that stay in float.
        one_scale: whether all weights of a Dense layer share one scale, for a smaller file.
        stores_rest: whether the weights of layers that a static kind computes in float, such as an
            LSTM, are stored in int8, too.
        in_blocks: names of convolutions that are computed over blocks of pixels; see
            ``qdq.pixel_blocks``.
        float_swish: whether each swish between int8 layers is one node in float; see ``qdq.swish``.
        equalizes_streams: whether channels are equalized through additions, too; see
            ``weights.streams``.
        finetuned: whether its weights were trained under quantization; see ``finetuning``.
    """

    kind: str
    ranges: str = "minmax"
    float_nodes: frozenset[str] = frozenset()
    one_scale: bool = False
    stores_rest: bool = False
    in_blocks: frozenset[str] = frozenset()
    float_swish: bool = False
    equalizes_streams: bool = False
    finetuned: bool = False

    @classmethod
    def starting(cls, kind: str, ranges: str, float_nodes: frozenset[str]) -> Recipe:
        """Return where a search for this kind begins; only static kinds have ranges."""
        plain = cls(kind, float_nodes=float_nodes)
        return replace(plain, ranges=ranges) if plain.is_static else plain

    @property
    def is_static(self) -> bool:
        """Whether activations are quantized by ranges that are known beforehand."""
        return self.kind in ("static", "int16")

    @property
    def rounds(self) -> bool:
        """Whether weights are rounded by what the layers read."""
        return self.kind not in ("dynamic", "none")

    def __str__(self) -> str:
        """Return it in words, for reports."""
        parts = [self.kind]
        if self.is_static:
            parts.append(f"{self.ranges} ranges")
        if self.equalizes_streams:
            parts.append("equalized through additions")
        if self.finetuned:
            parts.append("fine-tuned")
        if self.one_scale:
            parts.append("one scale a Dense layer")
        if self.stores_rest:
            parts.append("all weights in int8")
        if self.float_nodes and self.kind != "none":
            count = len(self.float_nodes)
            parts.append(f"{count} node{'s' if count > 1 else ''} in float")
        if self.float_swish:
            parts.append("swish in float")
        if self.in_blocks:
            count = len(self.in_blocks)
            parts.append(f"{count} convolution{'s' if count > 1 else ''} over blocks of pixels")
        return ", ".join(parts)
