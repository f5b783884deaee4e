"""The network that a converted detector's file describes."""

from __future__ import annotations

from segue.models.region_network import RegionNetwork
from segue.models.settings import NetworkSettings
from segue.models.weights import ModelFile
from segue.nn.fpn import PyramidSettings
from segue.nn.resnet import BackboneSettings
from segue.nn.rpn import ProposalSettings
from segue.structures import Categories
from segue.tasks import tasks_named


def empty_detector(model: ModelFile) -> RegionNetwork:
    """The network of a converted detector, its weights still random."""
    network = model.network
    settings = NetworkSettings(
        conventions=network["conventions"],
        backbone=BackboneSettings(**network["backbone"]),
        pyramid=PyramidSettings(**network["pyramid"]),
        proposals=ProposalSettings(**network["proposals"]),
        tasks=network["tasks"],
    )
    return RegionNetwork(settings, Categories.from_json(model.categories), tasks_named(list(network["tasks"])))


def built_detector(model: ModelFile) -> RegionNetwork:
    """The network of a converted detector, in evaluation mode."""
    network = empty_detector(model)
    network.load_state_dict(model.state)
    return network.eval()
