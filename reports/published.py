"""The paper's numbers, each with the place where the paper prints it.

Srivastava, Mansimov & Salakhutdinov, "Unsupervised Learning of Video Representations using LSTMs", ICML 2015 (arXiv
1502.04681). They are shown beside ours, marked "published", and never mixed with ours. The paper contradicts itself
once: the Composite model on all of HMDB-51 has 44.0 in section 3.3 and Table 4, 44.1 in Tables 1 and 3. Each artefact
here keeps the number printed for it, with a note.
"""

from dataclasses import dataclass

SINGLE_FRAME = "single frame"
BASELINE = "LSTM classifier"
PRETRAINED = "LSTM classifier + Composite pretraining"

FUTURE_PREDICTOR = "Future Predictor"
COMPOSITE = "Composite Model"
CONDITIONAL_FUTURE_PREDICTOR = "Conditional Future Predictor"
COMPOSITE_CONDITIONAL = "Composite Model with Conditional Future Predictor"

DATASET_NAMES = {
    "ucf101": "UCF-101",
    "hmdb51": "HMDB-51",
    "mnist": "Moving MNIST",
    "patches": "image patches",
}
"""How a dataset is written in headings; a dataset that is not here is written as it is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One printed number."""

    artefact: str
    """"fig12", "table1" ... "table4", or "mnist_records"."""
    dataset: str
    """"ucf101", "hmdb51", "mnist" or "patches"."""
    method: str
    """Label of the method, as in our experiments where both have it."""
    shots: str
    """Labelled training videos per class, or "all"."""
    modality: str
    """"rgb", "flow1" (one flow frame), "flow10" (stacks of ten), "flow" or "rgb+flow"; "pixels" for images."""
    value: float
    """As printed, in `unit`."""
    unit: str
    """"%" of test videos, "nats/frame", or "squared loss/frame"."""
    source: str
    """Where it is printed."""
    note: str
    """What a reader should know before comparing; often empty."""


_CONFLICT = (
    "The paper prints two numbers for the Composite model on all of HMDB-51: 44.0 in section 3.3 and Table 4, 44.1 in "
    "Tables 1 and 3."
)

_FUSED = "The paper does not say which of its flow streams (single fields, or stacks of 10) its 84.3 % of RGB + flow is fused from."


def _accuracy(
    artefact: str,
    dataset: str,
    method: str,
    value: float,
    source: str,
    *,
    shots: str = "all",
    modality: str = "rgb",
) -> Published:
    """An accuracy in percent; adds a note where the paper contradicts itself, or leaves open what was fused."""
    conflict = dataset == "hmdb51" and shots == "all" and value in (44.0, 44.1)
    composite = method in (PRETRAINED, "Composite LSTM Model")
    fusion = modality == "rgb+flow"
    return Published(
        artefact=artefact,
        dataset=dataset,
        method=method,
        shots=shots,
        modality=modality,
        value=value,
        unit="%",
        source=source,
        note=_CONFLICT if conflict and composite else _FUSED if composite and fusion else "",
    )


def _fig12() -> tuple[Published, ...]:
    """The points of Fig. 12 that the text states; the others are only drawn."""
    prose, table = "section 3.3", "Table 1"
    return (
        _accuracy("fig12", "ucf101", BASELINE, 29.6, prose, shots="1"),
        _accuracy("fig12", "ucf101", PRETRAINED, 34.3, prose, shots="1"),
        _accuracy("fig12", "ucf101", SINGLE_FRAME, 72.2, table),
        _accuracy("fig12", "ucf101", BASELINE, 74.5, prose),
        _accuracy("fig12", "ucf101", PRETRAINED, 75.8, prose),
        _accuracy("fig12", "hmdb51", BASELINE, 14.4, prose, shots="1"),
        _accuracy("fig12", "hmdb51", PRETRAINED, 19.1, prose, shots="1"),
        _accuracy("fig12", "hmdb51", SINGLE_FRAME, 40.1, table),
        _accuracy("fig12", "hmdb51", BASELINE, 42.8, prose),
        _accuracy("fig12", "hmdb51", PRETRAINED, 44.0, prose),
    )


def _table1() -> tuple[Published, ...]:
    """Summary of action recognition; the stacks of ten flows stand in the text beside the table."""
    columns = (
        ("ucf101", "rgb", (72.2, 74.5, 75.8)),
        ("ucf101", "flow1", (72.2, 74.3, 74.6)),
        ("hmdb51", "rgb", (40.1, 42.8, 44.1)),
    )
    methods = (SINGLE_FRAME, BASELINE, PRETRAINED)
    table = tuple(
        _accuracy("table1", dataset, method, value, "Table 1", modality=modality)
        for dataset, modality, values in columns
        for method, value in zip(methods, values, strict=True)
    )
    text = "section 3.3 (not in Table 1 itself)"
    return (
        *table,
        _accuracy("table1", "ucf101", SINGLE_FRAME, 77.5, text, modality="flow10"),
        _accuracy("table1", "ucf101", PRETRAINED, 77.7, text, modality="flow10"),
    )


def _table2() -> tuple[Published, ...]:
    """Future prediction: cross entropy on Moving MNIST, squared loss on image patches."""
    lines = (
        (FUTURE_PREDICTOR, 350.2, 225.2),
        (COMPOSITE, 344.9, 210.7),
        (CONDITIONAL_FUTURE_PREDICTOR, 343.5, 221.3),
        (COMPOSITE_CONDITIONAL, 341.2, 208.1),
    )
    units = (("mnist", "nats/frame"), ("patches", "squared loss/frame"))
    return tuple(
        _error("table2", dataset, method, value, unit, "Table 2")
        for method, *values in lines
        for (dataset, unit), value in zip(units, values, strict=True)
    )


def _error(
    artefact: str, dataset: str, method: str, value: float, unit: str, source: str
) -> Published:
    """A prediction error, lower is better."""
    return Published(
        artefact=artefact,
        dataset=dataset,
        method=method,
        shots="all",
        modality="pixels",
        value=value,
        unit=unit,
        source=source,
        note="",
    )


def _table3() -> tuple[Published, ...]:
    """Kinds of pretraining; "small" is 10 videos per class of UCF-101 and 4 of HMDB-51."""
    columns = (("ucf101", "10"), ("ucf101", "all"), ("hmdb51", "4"), ("hmdb51", "all"))
    lines = {
        BASELINE: (63.7, 74.5, 25.3, 42.8),
        f"{BASELINE} + Autoencoder pretraining": (66.2, 75.1, 28.6, 44.0),
        f"{BASELINE} + Future Predictor pretraining": (64.9, 74.9, 27.3, 43.1),
        f"{BASELINE} + Conditional Autoencoder pretraining": (65.8, 74.8, 27.9, 43.1),
        f"{BASELINE} + Conditional Future Predictor pretraining": (65.1, 74.9, 27.4, 43.4),
        PRETRAINED: (67.0, 75.8, 29.1, 44.1),
        f"{BASELINE} + Composite with Conditional Future Predictor pretraining": (
            67.1,
            75.8,
            29.2,
            44.0,
        ),
    }
    return tuple(
        _accuracy("table3", dataset, method, value, "Table 3", shots=shots)
        for method, values in lines.items()
        for (dataset, shots), value in zip(columns, values, strict=True)
    )


def _table4() -> tuple[Published, ...]:
    """Comparison with other methods, in the paper's three sets."""
    lines: tuple[tuple[str, str, float, float | None], ...] = (
        ("rgb", "Spatial ConvNet", 73.0, 40.5),
        ("rgb", "C3D", 72.3, None),
        ("rgb", "C3D + fc6", 76.4, None),
        ("rgb", "LRCN", 71.1, None),
        ("rgb", "Composite LSTM Model", 75.8, 44.0),
        ("flow", "Temporal ConvNet", 83.7, 54.6),
        ("flow", "LRCN", 77.0, None),
        ("flow", "Composite LSTM Model", 77.7, None),
        ("rgb+flow", "LRCN", 82.9, None),
        ("rgb+flow", "Two-stream ConvNet", 88.0, 59.4),
        ("rgb+flow", "Multi-skip feature stacking", 89.1, 65.1),
        ("rgb+flow", "Composite LSTM Model", 84.3, None),
    )
    return tuple(
        _accuracy("table4", dataset, method, value, "Table 4", modality=modality)
        for modality, method, *values in lines
        for dataset, value in zip(("ucf101", "hmdb51"), values, strict=True)
        if value is not None
    )


def _mnist_records() -> tuple[Published, ...]:
    """Later results on Moving MNIST, cross entropy in nats per frame; FC-LSTM is a later version of the paper's own model."""
    lines = (
        ("FC-LSTM", 483.2, "Shi et al. 2015 (ConvLSTM)"),
        ("ConvLSTM", 367.1, "Shi et al. 2015 (ConvLSTM)"),
        ("DFN", 285.2, "De Brabandere et al. 2016 (Dynamic Filter Networks)"),
        ("Video Ladder Network", 187.7, "Cricri et al. 2016 (Video Ladder Networks)"),
        ("VPN baseline", 110.1, "Kalchbrenner et al. 2017 (Video Pixel Networks)"),
        ("VPN", 87.6, "Kalchbrenner et al. 2017 (Video Pixel Networks)"),
    )
    return tuple(
        _error("mnist_records", "mnist", method, value, "nats/frame", source)
        for method, value, source in lines
    )


PUBLISHED: tuple[Published, ...] = (
    *(*_fig12(), *_table1(), *_table2()),
    *(*_table3(), *_table4(), *_mnist_records()),
)
"""Every number, in the order of the paper."""


def entry(
    artefact: str, dataset: str, method: str, shots: str, *, modality: str | None = None
) -> Published | None:
    """The printed number with its source, or None where the paper prints none.

    Args:
        artefact: "fig12", "table1" ... "table4", "mnist_records".
        dataset: "ucf101", "hmdb51", "mnist", "patches"; any other dataset has no published number.
        method: Label of the method.
        shots: Labelled videos per class as text, or "all".
        modality: See `Published.modality`; None stands for "rgb", or "pixels" for Moving MNIST and patches.
    """
    if modality is None:
        modality = "pixels" if dataset in ("mnist", "patches") else "rgb"
    wanted = (artefact, dataset, method, shots, modality)
    for one in PUBLISHED:
        if (one.artefact, one.dataset, one.method, one.shots, one.modality) == wanted:
            return one
    return None


def published(
    artefact: str, dataset: str, method: str, shots: str, *, modality: str | None = None
) -> float | None:
    """The printed number alone, in its unit; arguments as for `entry`."""
    one = entry(artefact, dataset, method, shots, modality=modality)
    return None if one is None else one.value
