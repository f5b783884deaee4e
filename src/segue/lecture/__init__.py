"""The lecture on image segmentation (Justin Johnson, EECS 498, lecture 16), each figure and number from live code.

A page is a function without arguments that computes a `Page`. This is the list of them, in the lecture's order.
"""

from segue.lecture.convolution import convolution
from segue.lecture.interpolation import bicubic, bilinear
from segue.lecture.max_unpooling import max_unpooling
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.transposed import convolution_matrix, transposed_line, transposed_plane
from segue.lecture.unpooling import unpooling
from segue.lecture.write import write_lecture

LECTURE = [
    unpooling,
    bilinear,
    bicubic,
    max_unpooling,
    convolution,
    transposed_plane,
    transposed_line,
    convolution_matrix,
]

__all__ = ["LECTURE", "Figure", "Number", "Page", "TryIt", "write_lecture"]
