"""The networks of Mesh R-CNN (Gkioxari et al., ICCV 2019): an object's extent in depth, its voxels, its refined mesh.

All that they say is in the coordinates of a box's frustum, [-1, 1] each: see `segue.ops.frustum`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segue.ops.mesh_graph import Neighbours, neighbour_sum, neighbours, subdivide, unique_edges
from segue.ops.vert_align import vert_align
from segue.structures import Meshes


class ExtentHead(nn.Module):
    """Two fully connected layers, then some numbers for each class: how deep an object is, and maybe how tall."""

    def __init__(self, channels: int, side: int, hidden: int, classes: int, numbers: int) -> None:
        super().__init__()
        self.shape = classes, numbers
        self.fc1, self.fc2 = nn.Linear(channels * side**2, hidden), nn.Linear(hidden, hidden)
        self.predictor = nn.Linear(hidden, classes * numbers)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, rois: Tensor) -> Tensor:
        """(R, C, side, side) -> (R, classes, numbers)."""
        x = F.relu(self.fc2(F.relu(self.fc1(rois.flatten(1)))))
        numbers: Tensor = self.predictor(x).view(-1, *self.shape)
        return numbers.float()


class VoxelHead(nn.Module):
    """3x3 convolutions, a transposed one that doubles the side, and a channel for each step in depth."""

    def __init__(self, channels: int, hidden: int, convolutions: int, depth: int) -> None:
        super().__init__()
        widths = [channels] + [hidden] * convolutions
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.upsample = nn.ConvTranspose2d(widths[-1], hidden, 2, 2)
        self.predictor = nn.Conv2d(hidden, depth, 1)
        for layer in (*self.convolutions, self.upsample, self.predictor):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=0.001)

    def forward(self, rois: Tensor) -> Tensor:
        """(R, C, S, S) -> logits (R, depth, 2 S, 2 S)."""
        x = rois
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        logits: Tensor = self.predictor(F.relu(self.upsample(x)))
        return logits.float()


class GraphConv(nn.Module):
    """A vertex's new value is a linear function of its own, plus the sum of another one of its neighbours'."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        for layer in (self.own, self.others):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, values: Tensor, around: Neighbours) -> Tensor:
        """Values (V, C) of vertices and their neighbours -> (V, outputs)."""
        own: Tensor = self.own(values)
        return own.add_(neighbour_sum(self.others(values), around))


class Stage(nn.Module):
    """Vertices look at the picture and at their neighbours, then move.

    Args:
        channels: of the picture's features.
        hidden: of a vertex.
        convolutions: graph convolutions.
        first: whether no stage comes before, whose values the vertices bring.
    """

    def __init__(self, channels: int, hidden: int, convolutions: int, first: bool) -> None:
        super().__init__()
        self.bottleneck = nn.Linear(channels, hidden)
        widths = [hidden * (1 if first else 2) + 3] + [hidden + 3] * (convolutions - 1)
        self.graph = nn.ModuleList(GraphConv(width, hidden) for width in widths)
        self.offset = nn.Linear(hidden + 3, 3)
        nn.init.normal_(self.bottleneck.weight, std=0.01)
        for values in (self.bottleneck.bias, self.offset.weight, self.offset.bias):
            nn.init.zeros_(values)

    def forward(
        self, features: Tensor, meshes: Meshes, around: Neighbours, before: Tensor | None
    ) -> tuple[Meshes, Tensor]:
        """Meshes of objects with features (N, C, S, S), and their vertices' values (V, hidden) -> both anew."""
        places = meshes.vertices
        seen = vert_align(features, places[:, :2], meshes.vertex_owner)
        x = self.bottleneck(seen).relu_()
        x = torch.cat([*([] if before is None else [before]), x, places.to(x)], 1)
        for layer in self.graph:
            values = layer(x, around).relu_()
            x = torch.cat([values, places.to(values)], 1)
        return meshes.with_vertices(places + self.offset(x).tanh().float()), values


class Refinement(nn.Module):
    """Several stages, one after the other; between them faces may be divided into four, as Pixel2Mesh does."""

    def __init__(self, channels: int, hidden: int, stages: int, convolutions: int, divide: bool) -> None:
        super().__init__()
        self.divide = divide
        self.stages = nn.ModuleList(Stage(channels, hidden, convolutions, i == 0) for i in range(stages))

    def forward(self, features: Tensor, meshes: Meshes) -> list[Meshes]:
        """Features (N, C, S, S) and what to begin with -> the meshes after each stage."""
        found: list[Meshes] = []
        values: Tensor | None = None
        around = _around(meshes)
        for stage in self.stages:
            if self.divide and values is not None:
                meshes, values = subdivide(meshes, values)
                around = _around(meshes)
            meshes, values = stage(features, meshes, around, values)
            found.append(meshes)
        return found


def _around(meshes: Meshes) -> Neighbours:
    return neighbours(unique_edges(meshes.faces), len(meshes.vertices))
