"""From the words of `harness compare` to the two sides of a comparison.

A side is `[FOLDER/]EXPERIMENT[.PART][:METHOD]`, or a work folder alone. Experiments are those that were run in the folder, with
the knobs of their last run there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.experiment import Experiment
from configs.knobs import did_you_mean
from harness import collect, plan, recall
from harness.source import UsageError
from harness.workdir import Workdir
from reports.accuracy_layouts import TABLE1, TABLE3, TABLE4
from reports.evidence import Evidence
from reports.pairing import Side

PRINTED = {each.artefact: each.names for each in (TABLE1, TABLE3, TABLE4)}
"""Label of a method to what an experiment's report calls its row, where that is another name."""
LEAST = 5
"""Letters that a word must share with a word of a label to mean it, where it is no part of the label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What was typed for one side."""

    typed: str
    place: Workdir
    experiment: str = ""
    """Empty for a whole work folder."""
    part: str = ""
    method: str = ""
    """As typed; empty for all."""

    def of(self, experiment: str, part: str) -> "Words":
        """The same side for one experiment of the folder."""
        name = f"{experiment}.{part}" if part else experiment
        typed = f"{self.typed.rstrip('/')}/{name}"
        return replace(self, typed=typed, experiment=experiment, part=part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Two sides that can be compared."""

    name: str
    """What its files are called."""
    first: Side
    second: Side


def questions(first: str, second: str, workdir: Workdir) -> Iterator[Question]:
    """What is to be compared: one question, or of two folders one for each experiment that both have.

    Args:
        first: as typed.
        second: as typed.
        workdir: of experiments that are named without a folder.

    Raises:
        UsageError: for something that does not exist, or is not one thing.
    """
    one, other = (parse(each, workdir) for each in (first, second))
    if not one.experiment and not other.experiment:
        names = _parts_of_both(one.place, other.place)
        if one.place.root.resolve() == other.place.root.resolve():
            raise UsageError(f"{first} and {second} are the same work folder")
        for experiment, part in names:
            yield _question(one.of(experiment, part), other.of(experiment, part))
        return
    if not one.experiment:
        one = one.of(other.experiment, other.part)
    if not other.experiment:
        other = other.of(one.experiment, one.part)
    yield _question(one, other)


def parse(typed: str, workdir: Workdir) -> Words:
    """Where a side is, and what of it.

    Raises:
        UsageError: when there is no such folder or no experiment is named where one must be.
    """
    head, colon, method = typed.partition(":")
    if colon and not method.strip():
        raise UsageError(
            f"'{typed}' names no method after the colon: leave the colon out, or name one"
        )
    whole = Path(head).expanduser()
    if head not in recall.names_in(workdir) and recall.names_in(Workdir(whole)):
        if method:
            raise UsageError(f"'{typed}' names a method of a whole work folder: write {head.rstrip('/')}/EXPERIMENT:{method}")  # fmt: skip
        return Words(typed=typed, place=Workdir(whole))
    folder, slash, name = head.rpartition("/")
    place = Workdir(Path(folder or "/").expanduser()) if slash else workdir
    experiment, _, part = name.partition(".")
    known = recall.names_in(place)
    if not known:
        raise UsageError(
            f"nothing was run in {place.root} ('{typed}' is read as an experiment there): a side is [FOLDER/]EXPERIMENT[:METHOD] "
            "or a work folder"
        )
    if experiment not in known:
        raise UsageError(
            f"no experiment '{experiment}' was run in {place.root}{did_you_mean(experiment, known)} (run there: {', '.join(known)})"
        )
    return Words(typed=typed, place=place, experiment=experiment, part=part, method=method.strip())


def choose_method(
    text: str, labels: Sequence[str], typed: str, *, printed: Mapping[str, str] | None = None
) -> str:
    """The one label that a text means.

    It is the label itself; or the one whose name in the report's rows (`printed`, by label) is the text, or begins with it
    ("Autoencoder", not "Conditional Autoencoder"); or the only label that contains the text, or whose every other holder is an
    extension of it ("LSTM" means "LSTM classifier", not "LSTM classifier + ..."); or the only one with a word that begins like it
    ("pretrained" for "pretraining").

    Raises:
        UsageError: when it means none or several.
    """
    wanted = " ".join(text.casefold().split())
    exact = [label for label in labels if label.casefold() == wanted]
    if exact:
        return exact[0]
    rows = {label: (printed or {}).get(label, label).casefold() for label in labels}
    named = [label for label, row in rows.items() if row == wanted]
    named = named or [label for label, row in rows.items() if row.startswith(wanted)]
    if len(named) == 1:
        return named[0]
    found = [label for label in labels if wanted in label.casefold()]
    found = found or [label for label in labels if _begins_alike(wanted, label.casefold())]
    plain = [label for label in found if all(each.startswith(label) for each in found)]
    if plain:
        return plain[0]
    if found:
        raise UsageError(
            f"'{text}' in '{typed}' means several methods ({'; '.join(found)}): give more of the one that is meant"
        )
    words = dict.fromkeys(word for label in labels for word in re.findall(r"\w+", label))
    near = did_you_mean(text, words) or did_you_mean(text.capitalize(), words) or did_you_mean(text, labels)  # fmt: skip
    raise UsageError(f"'{text}' in '{typed}' is no method{near} (methods: {'; '.join(labels)})")


def _begins_alike(wanted: str, label: str) -> bool:
    """Whether a word of the label shares most of its beginning with the text: "pretrained" and "pretraining"."""
    for word in re.findall(r"\w+", label):
        same = next((at for at, (one, other) in enumerate(zip(wanted, word, strict=False)) if one != other), min(len(wanted), len(word)))  # fmt: skip
        if same >= max(LEAST, 0.75 * len(wanted)):
            return True
    return False


def _parts_of_both(one: Workdir, other: Workdir) -> list[tuple[str, str]]:
    """Experiments (and parts) that were run in both folders."""
    found = []
    for name in sorted(set(recall.names_in(one)) & set(recall.names_in(other))):
        parts = [
            tuple(_made(Words(typed=f"{place.root}/{name}", place=place, experiment=name))[0].parts)
            for place in (one, other)
        ]
        found += [(name, part) for part in (parts[0] or ("",)) if not parts[0] or part in parts[1]]
    if not found:
        raise UsageError(f"no experiment was run in both {one.root} and {other.root}")
    return found


def _made(words: Words) -> tuple[Experiment, tuple[str, ...]]:
    recalled = recall.recall(words.place, words.experiment)
    if recalled is None:
        raise UsageError(f"no experiment '{words.experiment}' was run in {words.place.root}")
    if recalled.experiment is None:
        raise UsageError(f"{words.typed} cannot be made any more: {recalled.problem}")
    return recalled.experiment, recalled.settings


def _evidence(words: Words) -> Evidence:
    experiment, settings = _made(words)
    parts = list(experiment.parts)
    if words.part and words.part not in parts:
        has = f"(parts: {', '.join(parts)})" if parts else "it has none"
        raise UsageError(f"'{words.typed}': {words.experiment} has no part '{words.part}'{did_you_mean(words.part, parts)} {has}")  # fmt: skip
    if parts and not words.part:
        raise UsageError(f"{words.experiment} consists of parts: name one, such as {words.experiment}.{parts[0]}")  # fmt: skip
    made = plan.make(experiment, words.place)
    gathered = collect.evidence_of_parts(words.experiment, experiment, made, words.place, settings)
    return gathered[words.part or words.experiment]


def _question(one: Words, other: Words) -> Question:
    """Two sides with the methods that are compared."""
    evidences = [_evidence(one), _evidence(other)]
    labels = [list(dict.fromkeys(str(cell["method"]) for cell in each.expected)) for each in evidences]  # fmt: skip
    rows = [PRINTED.get(words.part or words.experiment) for words in (one, other)]
    chosen = [
        choose_method(words.method, mine, words.typed, printed=printed) if words.method else ""
        for words, mine, printed in zip((one, other), labels, rows, strict=True)
    ]
    methods = _methods(chosen, labels, (one, other))
    place = [(words.place.root.resolve(), words.experiment, words.part) for words in (one, other)]
    if place[0] == place[1] and methods[0] == methods[1]:
        raise UsageError(f"'{one.typed}' and '{other.typed}' are the same: there is nothing to compare")  # fmt: skip
    sides = [
        Side(name=name, evidence=evidence, methods=tuple(mine))
        for name, evidence, mine in zip(_names(place[0] == place[1], methods, (one, other)), evidences, methods, strict=True)
    ]  # fmt: skip
    return Question(name=_file_name(one.typed, other.typed), first=sides[0], second=sides[1])


def _methods(
    chosen: Sequence[str], labels: Sequence[list[str]], words: tuple[Words, Words]
) -> tuple[list[str], list[str]]:
    """The methods of both sides: those named; the same as the other side's; the only one; or all that both have."""
    if chosen[0] and chosen[1]:
        return [chosen[0]], [chosen[1]]
    for at in (0, 1):
        if chosen[at]:
            theirs = labels[1 - at]
            if chosen[at] in theirs:
                return [chosen[at]], [chosen[at]]
            if len(theirs) == 1:
                return ([chosen[at]], theirs) if at == 0 else (theirs, [chosen[at]])
            raise UsageError(
                f"'{words[1 - at].typed}' has several methods ({'; '.join(theirs)}) and none is “{chosen[at]}”: name one after a colon"
            )
    if len(labels[0]) == len(labels[1]) == 1:
        return labels[0], labels[1]
    common = [label for label in labels[0] if label in labels[1]]
    if not common:
        raise UsageError(
            f"'{words[0].typed}' ({'; '.join(labels[0])}) and '{words[1].typed}' ({'; '.join(labels[1])}) share no method: name one "
            "of each after a colon"
        )
    return common, common


def _names(
    same_place: bool, methods: tuple[list[str], list[str]], words: tuple[Words, Words]
) -> tuple[str, str]:
    """How columns are headed: by the method where both are of one experiment, by what was typed where both are of one method."""
    if same_place:
        return methods[0][0], methods[1][0]
    heads = [each.typed.partition(":")[0] for each in words]
    if methods[0] == methods[1]:
        return heads[0], heads[1]
    return f"{heads[0]}: {methods[0][0]}", f"{heads[1]}: {methods[1][0]}"


def _file_name(one: str, other: str) -> str:
    """Letters, digits, _, - and . only."""
    slugs = [re.sub(r"[^A-Za-z0-9]+", "-", each).strip("-")[-60:].strip("-") for each in (one, other)]  # fmt: skip
    return f"{slugs[0]}_against_{slugs[1]}"
