"""The closing job of a submission: collect what there is and draw it, whatever happened to the cells.

Run as a module on a compute node: `python -m harness.closing SUBMISSION`.
"""

import sys
from pathlib import Path

from harness import launch, result
from harness import plan as planning
from harness.order import Order
from harness.source import find
from harness.workdir import Workdir, WorkdirBusy

PATIENCE_S = 600.0
"""How long another process may hold the work folder."""


def main(arguments: list[str]) -> int:
    """Bring home.

    Returns:
        0, or 1 when MLflow could not be written or the work folder was held for too long.
    """
    order = Order.read(Path(arguments[0]) / "order.json")
    source = find(order.source)
    experiment = source.experiment(order.settings)
    workdir = Workdir(Path(order.workdir))
    try:
        with workdir.locked(f"the closing job of {source.name}", patience_s=PATIENCE_S):
            newer = workdir.remembered(source.name)
            if newer is not None and newer.settings != order.settings:
                sys.stderr.write(
                    f"{source.name} was run with other knobs since: its report is left to that run\n"
                )
                return 0
            plan = planning.make(experiment, workdir)
            by_key = {cell.key: cell for cell in plan.cells}
            for key in plan.damaged:
                result.set_aside(workdir, by_key[key])
            outcome = launch.bring_home(
                source.name, experiment, plan, workdir, order.settings, {}, []
            )
    except WorkdirBusy as busy:
        sys.stderr.write(f"{busy}\n")
        return 1
    for problem in outcome.problems:
        sys.stderr.write(f"{problem}\n")
    sys.stderr.write(f"{len(plan.done)} of {len(plan.cells)} cells are done and drawn\n")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
