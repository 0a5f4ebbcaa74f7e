"""What the captions and notes of Tables 1, 3 and 4 say: of what a spread is one, from what an interval is, what is missing."""

from collections.abc import Iterable, Sequence

from reports.accuracy_answers import FIRST
from reports.accuracy_layouts import Layout, dataset_words, stream_set, stream_words
from reports.accuracy_lines import Line
from reports.published import Published
from reports.tables import INCOMPLETE, videos

_TEN = "; the paper's 77.7 % on UCF-101 is of stacks of 10 fields (section 3.3)"


def column_of(line: Line) -> str:
    """Stream and labelled videos of a line."""
    return f"{stream_words(line.stream)}, {videos(line.shots, line.labels_per_class)} per class"


def spread(lines: Sequence[Line]) -> str:
    """What stands before and after ± in these lines."""
    kinds: dict[str, list[str]] = {}
    for line in lines:
        labels = "all" if line.shots == "all" else f"{line.shots} videos per class"
        known = kinds.setdefault(_spread_of(line), [])
        known += [] if labels in known else [labels]
    if list(kinds) == [""]:
        return "Video accuracy in percent, of one run on one split: it has no spread."
    said = []
    for kind, which in kinds.items():
        where = f" ({', '.join(which)})" if len(kinds) > 1 else ""
        said.append(f"over {kind}{where}" if kind else f"one run, no spread{where}")
    return f"Video accuracy in percent; ours is mean ± sd (ddof = 1): {'; '.join(said)}."


def _spread_of(line: Line) -> str:
    """What one line's spread is over, in words; empty for a single run."""
    num_runs, splits = len(line.resamples), ", ".join(map(str, line.by_split))
    if line.over == "resamples":
        several = f", each first averaged over splits {splits}" if len(line.by_split) > 1 else ""
        return f"{num_runs} resampled training subsets{several}"
    if line.over == "splits":
        several = f", each first averaged over {num_runs} seeds" if num_runs > 1 else ""
        return f"splits {splits}{several}"
    return f"{num_runs} seeds on split {splits}" if line.over == "seeds" else ""


def of_published(printed: Iterable[Published]) -> list[str]:
    """Where the published numbers stand, and what the paper says of single ones."""
    found = list(printed)
    if not found:
        return []
    sources = ", ".join(dict.fromkeys(one.source for one in found))
    source = f"“published” is Srivastava et al. (2015), {sources}: their videos and percepts."
    return list(dict.fromkeys([source, *(one.note for one in found if one.note)]))


def under(lines: Sequence[Line], printed: Sequence[Published], layout: Layout) -> list[str]:
    """Notes of the table as the paper prints it."""
    notes = _incomplete(lines)
    papers = {one.dataset for one in layout.printed()}
    others = [
        dataset_words(each)
        for each in dict.fromkeys(line.dataset for line in lines)
        if each not in papers
    ]
    if others:
        notes.append(
            f"The paper has no numbers on {' and '.join(others)}: no difference from a published number is given."
        )
    notes += of_published(printed)
    beside = sorted({tuple(line.by_split) for line in lines if line.published is not None})
    fewer = [splits for splits in beside if len(splits) < 3]
    if fewer:
        which = " or ".join(
            f"split{'s' if len(each) > 1 else ''} {' and '.join(map(str, each))}" for each in fewer
        )
        ours = "Ours is" if fewer == beside else "Some of ours is"
        notes.append(
            f"{ours} on {which}; the paper has three splits and does not say over which its numbers are."
        )
    if layout.by_stream:
        pixels = any(line.stream == "pixels" for line in lines)
        notes += ["Ours in the set RGB is of the frames' pixels themselves."] if pixels else []
        # Where a dataset has both kinds of flow, its rows say which is which.
        tens = {line.dataset for line in lines if line.stream == "flow10"}
        ones = dict.fromkeys(line.dataset for line in lines if line.stream == "flow1")
        single = [each for each in ones if each not in tens]
        if single:
            where = " and ".join(map(dataset_words, single))
            notes.append(
                f"Ours on flow of {where} is of single fields{_TEN if 'ucf101' in single else ''}."
            )
    return notes


def _incomplete(lines: Iterable[Line]) -> list[str]:
    if all(line.complete for line in lines):
        return []
    return [
        f"{INCOMPLETE} Incomplete: so many of those there should be are there, and no mean is taken over some of them."
    ]


def intervals(lines: Sequence[Line]) -> str:
    """From what the 95 % intervals of means are."""
    found = {line.interval for line in lines}
    said = []
    if "corrected t" in found:
        overlaps = [line.overlap for line in lines if line.interval == "corrected t"]
        shares = " to ".join(dict.fromkeys(f"{each:.2f}" for each in (min(overlaps), max(overlaps))))  # fmt: skip
        said.append(
            f"over resamples t intervals, widened because subsets of one pool overlap (Nadeau & Bengio, 2003; overlap {shares})"
        )
    if "t" in found:
        said.append(
            "over resamples plain t intervals (no overlap of the subsets is known: too narrow if they overlap)"
        )
    where = "elsewhere " if said else ""
    if "Wilson over videos" in found:
        said.append(f"{where}over test videos Wilson intervals (one test list, one run)")
        where = "of several lists or runs "
    if "bootstrap over videos" in found:
        said.append(f"{where}percentile bootstrap intervals over test videos")
    return f"95 % intervals: {'; '.join(said)}." if said else "There are no intervals."


def under_detail(lines: Sequence[Line]) -> list[str]:
    """Notes of the table in detail."""
    notes = _incomplete(lines)
    lacking = [line for line in lines if line.unanswered]
    if lacking:
        notes.append(_unanswered(lacking))
    blocks = "Block accuracy counts the blocks of frames that a classifier reads one by one, video accuracy whole videos"
    if any(line.block_metric == "frame_accuracy" for line in lines):
        blocks += "; single frames are marked as such"
    if any(stream_set(line.stream) == "rgb+flow" for line in lines):
        blocks += "; a fusion joins whole videos and has no blocks"
    notes.append(f"{blocks}.")
    if any(line.over == "resamples" for line in lines):
        notes.append(
            f"Top-{FIRST} video accuracy is taken from stored predictions, where a split has one subset."
        )
    if any(line.over in ("splits", "seeds") for line in lines):
        notes.append(
            "Intervals over test videos speak of other test videos for the models as trained, not of another training."
        )
    return notes


def _unanswered(lines: Sequence[Line]) -> str:
    count = len(lines)
    return (
        f"{INCOMPLETE} Of {count} {'row' if count == 1 else 'rows'} not all runs' stored predictions are at hand: what would be taken "
        "from them (intervals and tests over test videos, top-5) is left out."
    )


def tests(lines: Sequence[Line]) -> str:
    """From what differences, intervals and p values are."""
    said = ["“minus” names what a row is compared with."]
    if any(line.over == "resamples" for line in lines):
        said.append(
            "Over resamples: the same training subsets for both, each difference first averaged over splits; t test and interval, "
            "“corrected” for the overlap of subsets (Nadeau & Bengio, 2003)."
        )
    if any(line.over != "resamples" for line in lines):
        said.append(
            "Over test videos: both answered the same ones; paired bootstrap interval, exact McNemar test on one test list with one run "
            "of each, else a randomisation test."
        )
    said.append("p is two-sided; “Holm” is adjusted over all rows with a test.")
    return " ".join(said)


def under_comparisons(lines: Sequence[Line]) -> list[str]:
    """Notes of the table of differences."""
    lacking = [each for line in lines for each in line.comparisons if each.comparison is None]
    if not lacking:
        return []
    return [
        f"{INCOMPLETE} Results or stored predictions of one of the two are missing: no difference is taken over what is left."
    ]  # fmt: skip
