"""A sentence for every region."""

from __future__ import annotations

import torch
from PIL import Image

from segue.drawing import draw_boxes, draw_captions, object_colors
from segue.lecture.page import Figure, Number, Page, TryIt
from segue.lecture.toys import STREET, enlarged, found, pixels, toybox, whole_truth
from segue.metrics.meteor import Meteor
from segue.ops import box_iou


def dense_captioning() -> Page:
    """The page."""
    scene, known = found(STREET), whole_truth(STREET)
    said, told, names = scene.regions.captions, known.regions.captions, scene.categories.names
    head = toybox().captions
    assert head is not None  # the bundled network tells sentences
    assert said is not None
    assert told is not None
    assert known.regions.areas is not None
    own = box_iou(scene.regions.boxes, known.regions.boxes).argmax(1).tolist()
    scores = Meteor().scores([(said[i], told[own[i]].splitlines()) for i in range(len(said))])
    sentence = told[int(known.regions.areas.argmax())].splitlines()[0]  # of the largest object
    regions, codes = toybox().region_codes(pixels(STREET), 0.5)
    with torch.no_grad():
        chances = head.log_likelihood(codes, sentence)
    order = chances.argsort(descending=True).tolist()
    ranking = [f"{names[int(regions.labels[i])]} {chances[i]:.1f}" for i in order]
    return Page(
        title="Dense captioning",
        question="Can a region have a sentence instead of a label?",
        answer="One more head: the features of the region become a code, and from the code a recurrent network (an "
        "LSTM by default) tells word after word until it says the end. It learns from the sentences of each object, "
        "by word, with a softmax over the vocabulary. The same head turned around searches: how likely is a sentence "
        "for each region? Below, what was said of each region, its METEOR against the sentences that Toybox knows to "
        "be true (the first of them is shown), and the search.",
        figures=(Figure(with_sentences(), "Regions, and what the network tells of them."),),
        numbers=(
            Number("words of the vocabulary", len(head.vocabulary)),
            Number("longest sentence in words", head.settings.longest),
            Number("regions with a sentence", sum(bool(text) for text in said)),
            *(
                Number(f"{i + 1}: {text}; METEOR against “{told[own[i]].splitlines()[0]}”", scores[i])
                for i, text in enumerate(said)
            ),
            Number("mean METEOR", sum(scores) / max(len(scores), 1)),
            Number(f"log-probability of “{sentence}” for each region", ", ".join(ranking)),
        ),
        module="segue.tasks.captions",
        test="tests/metrics/test_caption_metrics.py::test_average_precision_by_hand",
        try_it=TryIt(
            "segue data make toybox --train 1 --val 20 --seed 7 --out scenes && "
            'segue find "a red mug on the grass" scenes/images/val --model toybox --top 3 --out found',
            "Ask for something else: found/found.png shows the pictures that fit best, and where.",
        ),
    )


def with_sentences() -> Image.Image:
    """The picture with boxes and a column of sentences."""
    image, large = enlarged(STREET, found(STREET))
    regions, colors = large.regions, object_colors(large)
    boxed = draw_boxes(image, regions.boxes, colors)
    return draw_captions(boxed, regions.boxes, regions.captions or [""] * len(regions), colors)
