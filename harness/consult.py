"""`harness doctor`, from words to an exit code: this machine first, then the cluster, then one of its nodes."""

from collections.abc import Sequence

import click

from configs.clusters import Cluster
from harness import clustered, doctor, node_findings, provenance, site_findings
from harness.answers import EXIT_FAILED, EXIT_INTERRUPTED, print_json, say
from harness.doctor import Finding
from harness.send_probe import Interrupted, probe
from harness.source import UsageError
from harness.workdir import Workdir
from slurm import site
from slurm.ask import NoAnswer, NotHere

WAIT_S = 120
"""Seconds for which a probe job is waited for, where nothing else is said."""


def consult(workdir: Workdir, words: str | None, wait_s: int | None, *, as_json: bool) -> int:
    """Examine, and print every finding.

    Args:
        workdir: to examine, and to send the probe job from.
        words: a cluster's name or file; None for this machine alone.
        wait_s: how long to wait for the probe job; None for WAIT_S.
        as_json: whether to print one JSON list at the end instead of lines as they come.

    Returns:
        The exit code: 0 when all is well, 1 when something is not, 130 when interrupted.

    Raises:
        UsageError: for a cluster that is not known, or words that do not go together.
    """
    if wait_s is not None and words is None:
        raise UsageError("--wait is for clusters: leave it out, or add --cluster slurm")
    cluster = clustered.find_cluster(words, None) if words else None
    found: list[Finding] = []

    def tell(more: Sequence[Finding]) -> None:
        found.extend(more)
        for line in () if as_json else doctor.lines(more):
            click.echo(line)

    tell(doctor.examine(workdir))
    try:
        if cluster:
            of_site, answers = _site(cluster)
            tell(of_site)
            if answers:
                tell(_node(cluster, workdir, wait_s or WAIT_S, found))
    except Interrupted as error:
        say(f"harness: {error}")
        return EXIT_INTERRUPTED
    if as_json:
        print_json(doctor.content(found))
    return 0 if all(each.ok for each in found) else EXIT_FAILED


def _site(cluster: Cluster) -> tuple[list[Finding], bool]:
    """What there is to say about the site, and whether there is one to send a job to."""
    try:
        return site_findings.compare(cluster, site.look()), True
    except NotHere as error:
        return [Finding("SLURM", False, f"{error}: run this on a login node")], False
    except NoAnswer as error:
        advice = "SLURM is down or not set up here: `scontrol ping` says more; try again later, or on a login node"
        return [Finding("SLURM", False, str(error), advice)], False


def _node(
    cluster: Cluster, workdir: Workdir, wait_s: int, before: Sequence[Finding]
) -> list[Finding]:
    """What a probe job finds, unless it is known that none can."""
    in_the_way = [
        each.what
        for each in before
        if not each.ok and (each.what == "work folder" or each.what.startswith("partition "))
    ]
    if in_the_way:
        why = f"not sent, because of: {', '.join(in_the_way)}"
        return [Finding("probe job", False, why, "mend that first, and ask again")]
    probed = probe(cluster, workdir, wait_s, say)
    return node_findings.findings(cluster, probed, provenance.packages(), provenance.code())
