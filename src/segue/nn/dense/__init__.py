"""Networks that score every pixel, by the name that a recipe gives them. A new one is a new file and one more line."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segue.errors import RecipeError
from segue.nn.dense.deconvnet import DeconvNet, DeconvNetSettings
from segue.nn.dense.dilated import DeepLabV3, DeepLabV3Settings, DilatedSettings, FCNDilated
from segue.nn.dense.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from segue.nn.dense.farabet import Farabet, FarabetSettings
from segue.nn.dense.fc_densenet import FCDenseNet, FCDenseNetSettings
from segue.nn.dense.fcn import FCN, FCNSettings
from segue.nn.dense.network import DenseNetwork
from segue.nn.dense.plain import Plain, PlainSettings
from segue.nn.dense.recurrent import Recurrent, RecurrentSettings
from segue.nn.dense.resunet import ResUNet, ResUNetSettings
from segue.nn.dense.segnet import SegNet, SegNetSettings
from segue.nn.dense.unet import UNet, UNetSettings


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes:
        name: its name in recipes.
        settings: dataclass of its recipe values, each with a default.
        build: ``(classes, settings) -> network``.
    """

    name: str
    settings: type[Any]
    build: Callable[[int, Any], DenseNetwork]


ARCHITECTURES = [  # in the order of the lecture
    Architecture("farabet", FarabetSettings, Farabet),
    Architecture("recurrent", RecurrentSettings, Recurrent),
    Architecture("plain", PlainSettings, Plain),
    Architecture("encoder_decoder", EncoderDecoderSettings, EncoderDecoder),
    Architecture("fcn", FCNSettings, FCN),
    Architecture("deconvnet", DeconvNetSettings, DeconvNet),
    Architecture("segnet", SegNetSettings, SegNet),
    Architecture("unet", UNetSettings, UNet),
    Architecture("fc_densenet", FCDenseNetSettings, FCDenseNet),
    Architecture("fcn_dilated", DilatedSettings, FCNDilated),
    Architecture("deeplabv3", DeepLabV3Settings, DeepLabV3),
    Architecture("resunet", ResUNetSettings, ResUNet),
]


def architecture_named(name: str) -> Architecture:
    """The network of this name; raises `RecipeError` where there is none."""
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    known = [a.name for a in ARCHITECTURES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"unknown network {name!r}", where="semantic.network", cure=f"{hint}allowed are {', '.join(known)}"
    )


__all__ = ["ARCHITECTURES", "Architecture", "DenseNetwork", "architecture_named"]
