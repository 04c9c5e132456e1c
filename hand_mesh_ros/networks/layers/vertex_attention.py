"""Attention of mesh vertices to joints, and to each other (AMVUR section 3.3, eqs. 9 and 10)."""

from __future__ import annotations

from torch import Tensor, nn

from hand_mesh_ros.networks.layers.vit import Block


class VertexAttention(nn.Module):
    """Vertices look at the joints, then at all vertices; each time what they find is added.

    Ours, as in all transformers of this package: tokens are normalised before each attention, and
    after the one among vertices follows a small network for each.
    """

    def __init__(self, width: int, heads: int, layers: int, *, cross: bool) -> None:
        """Build it.

        Args:
            width: of the tokens.
            heads: of the attention.
            layers: of attention among vertices.
            cross: vertices look at the joints first.
        """
        super().__init__()
        self.cross = CrossAttention(width, heads) if cross else None
        self.among = nn.ModuleList(Block(width, heads, 0.0) for _ in range(layers))

    def forward(self, vertices: Tensor, joints: Tensor) -> Tensor:
        """(B, V, D) vertices from (B, V, D) and (B, J, D)."""
        if self.cross is not None:
            vertices = vertices + self.cross(vertices, joints)
        for block in self.among:
            vertices = block(vertices)
        return vertices


class CrossAttention(nn.Module):
    """Queries of the vertices; keys and values of the joints."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_vertices, self.norm_joints = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, vertices: Tensor, joints: Tensor) -> Tensor:
        """(B, V, D) what each vertex gathers from the joints."""
        # Letters: B images, V vertices, J joints, H heads, C channels of a head.
        q = self.query(self.norm_vertices(vertices)).unflatten(2, (self.heads, -1))  # (B, V, H, C)
        both = self.key_value(self.norm_joints(joints)).unflatten(2, (2, self.heads, -1))
        k, v = both.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, J, C)
        y = nn.functional.scaled_dot_product_attention(q.transpose(1, 2), k, v)
        return self.proj(y.transpose(1, 2).flatten(2))  # (B, V, D)
