"""The experiments that come with the package: a literal table, read without importing any of them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the table."""

    place: str
    """module:function."""
    summary: str
    in_paper: bool = False
    """Whether `harness run paper` makes it: an artefact of the paper that needs no data of the user's own."""


EXPERIMENTS: Mapping[str, Entry] = {
    "fig12": Entry(
        place="configs.fig12:fig12",
        summary="Fig. 12: accuracy against labelled videos per class, with and without pretraining",
        in_paper=True,
    ),
    "table1": Entry(
        place="configs.table1:table1",
        summary="Table 1: accuracy of three methods on RGB and flow, with all labels",
        in_paper=True,
    ),
    "table2": Entry(
        place="configs.table2:table2",
        summary="Table 2: loss of predicted frames, four models, moving digits and image patches",
        in_paper=True,
    ),
    "table3": Entry(
        place="configs.table3:table3",
        summary="Table 3: accuracy after seven beginnings, from random weights to Composite, few labels and all",
        in_paper=True,
    ),
    "table4": Entry(
        place="configs.table4:table4",
        summary="Table 4: RGB, flow and their fusion beside published systems",
        in_paper=True,
    ),
    "fig5": Entry(
        place="configs.fig5:fig5",
        summary="Fig. 5: moving digits, reconstructed and predicted by three Composite Models",
        in_paper=True,
    ),
    "fig6": Entry(
        place="configs.fig6:fig6",
        summary="Fig. 6: image patches, reconstructed and predicted by two sizes of Composite Model",
        in_paper=True,
    ),
    "fig7": Entry(
        place="configs.fig7:fig7",
        summary="Fig. 7: activity of a Future Predictor that runs 100 steps, trained and random",
        in_paper=True,
    ),
    "fig8": Entry(
        place="configs.fig8:fig8",
        summary="Fig. 8: one and three moving digits, shown to a model that was trained on two",
        in_paper=True,
    ),
    "fig9": Entry(
        place="configs.fig9:fig9",
        summary="Fig. 9: input features of a Composite Model, by L2 norm",
        in_paper=True,
    ),
    "fig10": Entry(
        place="configs.fig10:fig10",
        summary="Fig. 10: output features of its two decoders, by L2 norm",
        in_paper=True,
    ),
    "two_stream": Entry(
        place="configs.two_stream:two_stream",
        summary="Table 4's streams: RGB, flow and their fusion, split by split, on your videos",
    ),
    "flow": Entry(
        place="configs.flow:flow",
        summary="Flow: optical flow of a set of videos, kept in 8 bits",
    ),
    "temporal": Entry(
        place="configs.temporal_stream:temporal",
        summary="Temporal: the temporal-stream ConvNet, trained on stored flow",
    ),
    "patches": Entry(
        place="configs.patches:patches",
        summary="Patches: 32 x 32 squares of a set of videos, followed through their frames",
    ),
    "percepts": Entry(
        place="configs.percepts:percepts",
        summary="Percepts: every frame of a set of videos through a convnet, into a feature store",
    ),
    "paper": Entry(
        place="configs.paper:paper",
        summary="Paper: every artefact that needs no data of your own, in one plan and on one page",
    ),
}

ENTRY_POINTS = "harness.experiments"
"""The entry-point group by which other packages add experiments of their own."""
