"""Debian's packages that tests need beside Python's: installed where they are missing, without starting their services.

    python3 tests/debian.py slurm browser latex      (as root)

Nothing but the standard library is used, so that this runs before anything is installed.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SLURM = ("munge", "slurmctld", "slurmd", "slurm-client")
ACCOUNTING = ("slurmdbd", "mariadb-server-core", "mariadb-client-core")
BROWSER = ("chromium", "chromium-driver")
LATEX = ("texlive-latex-recommended", "texlive-science")  # booktabs, siunitx
SETS = {"slurm": (*SLURM, *ACCOUNTING), "browser": BROWSER, "latex": LATEX}


def install(packages: Iterable[str]) -> None:
    """Install those that are missing.

    Raises:
        RuntimeError: when apt-get fails, with what it said.
    """
    missing = [name for name in packages if not _is_installed(name)]
    if not missing:
        return
    no_services = Path("/usr/sbin/policy-rc.d")
    ours = not no_services.exists()
    if ours:
        no_services.write_text("#!/bin/sh\nexit 101\n")
        no_services.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]
    try:
        # Package lists may be there already, and a mirror that does not answer is then no reason to give up.
        subprocess.run([*apt, "update"], env=environment, check=False, capture_output=True)
        done = subprocess.run(
            [*apt, "install", "--no-install-recommends", *missing],
            env=environment, check=False, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        if ours:
            no_services.unlink()
    if done.returncode:
        raise RuntimeError(f"apt-get install {' '.join(missing)} failed: {done.stderr[-800:]}")


def _is_installed(package: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False
    )
    return "ok installed" in done.stdout


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - SETS.keys()
    if unknown or len(sys.argv) < 2:
        sys.exit(f"name sets of packages: {', '.join(SETS)}")
    install(name for each in sys.argv[1:] for name in SETS[each])
