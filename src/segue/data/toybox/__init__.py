"""Toybox: small synthetic scenes of which everything is known."""

from segue.data.toybox.captions import Caption, caption
from segue.data.toybox.categories import STUFF, THINGS, TOYBOX
from segue.data.toybox.render import Sample, Thing, render
from segue.data.toybox.scene import World, draw_world

__all__ = ["STUFF", "THINGS", "TOYBOX", "Caption", "Sample", "Thing", "World", "caption", "draw_world", "render"]
