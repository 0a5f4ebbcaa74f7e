"""What the tests of `harness doctor --cluster` share: a site's listing, a node's answer, and what a fault looks like."""

import sys

from harness import provenance
from harness.doctor import Finding
from harness.probe import Answer

LISTING = """\
cpu*|up|2-00:00:00|REQUEUE|8|idle|16|64000|(null)
cpu*|up|2-00:00:00|REQUEUE|2|drained|16|64000|(null)
gpu|up|4:00:00|CANCEL|3|mixed|32|256000|gpu:a100:4(S:0-1)
old|down|infinite|OFF|1|idle|4|8000|(null)
dead|up|infinite|OFF|2|down|4|8000|(null)
"""
ANSWER = Answer(
    host="n1", python=sys.executable, packages=provenance.packages(), torch_problem="", gpus=(), gpus_allotted=0, cores=4,
    token="@token@", free_gb=100.0, silent={}, store_problem="", code=provenance.code(),
)  # fmt: skip


def bad(finding: Finding, found: str, advice: str) -> None:
    assert not finding.ok
    assert found in finding.found
    assert advice in finding.advice
