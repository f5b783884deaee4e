"""The lecture on image segmentation (Justin Johnson, EECS 498, lecture 16), each figure and number from live code.

A page is a function without arguments that computes a `Page`. This is the list of them, in the lecture's order.
"""

from segue.lecture.anchors import anchors
from segue.lecture.convolution import convolution
from segue.lecture.dense_captioning import dense_captioning
from segue.lecture.four_tasks import four_tasks
from segue.lecture.fully_convolutional import fully_convolutional
from segue.lecture.human_keypoints import human_keypoints
from segue.lecture.interpolation import bicubic, bilinear
from segue.lecture.many_tasks import many_tasks
from segue.lecture.mask_training import mask_training
from segue.lecture.max_unpooling import max_unpooling
from segue.lecture.mesh_shapes import mesh_shapes
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.panoptic_maps import panoptic_maps
from segue.lecture.receptive_field import receptive_field
from segue.lecture.region_heads import region_heads
from segue.lecture.region_stages import region_stages
from segue.lecture.resolutions import resolutions
from segue.lecture.roi_pooling import roi_pooling
from segue.lecture.semantic_scores import semantic_scores
from segue.lecture.sliding_window import sliding_window
from segue.lecture.things_and_stuff import things_and_stuff
from segue.lecture.transposed import convolution_matrix, transposed_line, transposed_plane
from segue.lecture.unpooling import unpooling
from segue.lecture.write import write_lecture

LECTURE = [
    four_tasks,
    sliding_window,
    fully_convolutional,
    receptive_field,
    resolutions,
    unpooling,
    bilinear,
    bicubic,
    max_unpooling,
    convolution,
    transposed_plane,
    transposed_line,
    convolution_matrix,
    semantic_scores,
    things_and_stuff,
    region_stages,
    anchors,
    roi_pooling,
    mask_training,
    panoptic_maps,
    human_keypoints,
    region_heads,
    dense_captioning,
    mesh_shapes,
    many_tasks,
]

__all__ = ["LECTURE", "Figure", "Number", "Page", "TryIt", "write_lecture"]
