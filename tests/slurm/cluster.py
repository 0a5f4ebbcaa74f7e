"""A real SLURM of several nodes on this one machine, for tests; thrown away afterwards.

    python3 tests/debian.py slurm                the Debian packages (as root)
    python3 -m tests.slurm.cluster start DIR     then: export SLURM_CONF=DIR/slurm.conf && sinfo
    python3 -m tests.slurm.cluster stop DIR

Everything lives in DIR, except for the packages and one marked line of /etc/hosts. Some settings are there because
nothing else works:

- every slurmd has a port and a UTS namespace of its own, so that each says another host name;
- all node names are one loopback address: srun listens on its own name's, and is called back where it came from;
- cgroup.conf names a plugin although no cgroup is used: slurmd would look for systemd and dbus otherwise;
- cred_expire is how long a requeued job waits before it may start again.
"""

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.debian import ACCOUNTING, SLURM, install

LONGEST_FOLDER = 60
"""Characters: the longest unix socket below it must stay under the kernel's 107."""


def why_not() -> str:
    """Why no cluster can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "a throw-away SLURM needs root"
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not _which(name)]
    if missing and not _which("apt-get"):
        return f"{', '.join(missing)} not installed, and no apt-get to install them with"
    return ""


@dataclass(frozen=True)
class ThrowAwaySlurm:
    """A cluster in a folder."""

    folder: Path
    nodes: int = 4
    cpus: int = 2
    """CPUs that each node claims; all nodes together may claim more than there are."""
    memory_mb: int = 4000
    accounting: bool = False
    """Whether sacct works: slurmdbd and a database of its own, about 3 s more."""
    memory_of_jobs_s: int = 300
    """Seconds for which the controller remembers a job that has ended, at least; it looks once a minute."""

    @property
    def conf(self) -> Path:
        """What SLURM_CONF has to name."""
        return self.folder / "slurm.conf"

    @property
    def names(self) -> list[str]:
        """The nodes' names."""
        return [f"tn{number}" for number in range(1, self.nodes + 1)]

    def start(self, timeout_s: float = 90.0) -> None:
        """Start every daemon and wait until all nodes are idle.

        Raises:
            RuntimeError: with the ends of the daemons' logs.
        """
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise RuntimeError(f"{self.folder} is longer than {LONGEST_FOLDER} characters")
        install([*SLURM, *(ACCOUNTING if self.accounting else ())])
        for name in ("munge", "state", "spool", "log", "run", *(f"spool/{n}" for n in self.names)):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o755)
        self._write_configuration()
        self._write_hosts()
        munge = self.folder / "munge"
        self._run(
            "munged", "--force", f"--socket={munge}/socket", f"--key-file={munge}/key",
            f"--pid-file={self.folder}/run/munged.pid", f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={munge}/seed",
        )  # fmt: skip
        if self.accounting:
            self._start_accounting()
        self.start_controller()
        for name in self.names:
            self.start_node(name)
        self._wait(timeout_s, "idle nodes", self._all_idle)

    def start_controller(self) -> None:
        """Start the controller; it knows what it knew before."""
        self._run("slurmctld", "-f", str(self.conf))

    def stop_controller(self) -> None:
        """End the controller: squeue and all others answer nothing."""
        self._end_by_pid_file("slurmctld")

    def start_node(self, name: str) -> None:
        """Start one node's daemon."""
        own_name = 'hostname "$1" && exec slurmd -N "$1" -f "$SLURM_CONF"'
        self._run("unshare", "--uts", "--", "sh", "-c", own_name, "sh", name)

    def heal(self) -> None:
        """Start daemons that a test has killed, and take nodes back that it has set down."""
        if not self._lives("slurmctld"):
            self.start_controller()
        for name in self.names:
            if not self._lives(f"slurmd-{name}"):
                self.start_node(name)
        listing = self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T")
        for line in listing.splitlines():
            name, state = line.split()
            if state.startswith(("down", "drain", "fail")):
                self.ask("scontrol", "update", f"NodeName={name}", "State=RESUME")
        self._wait(60, "idle nodes", self._all_idle)

    def clear(self) -> None:
        """Cancel every job, and wait a while until none is left."""
        self.ask("scancel", "--user=root", "--full")
        deadline = time.monotonic() + 45
        while self.ask("squeue", "-h").strip() and time.monotonic() < deadline:
            time.sleep(0.1)

    def stop(self) -> None:
        """Cancel what runs, stop every daemon, and end what is left of jobs."""
        self.clear()
        for name in (*(f"slurmd-{node}" for node in self.names), "slurmctld"):
            self._end_by_pid_file(name)
        for pid in self._left_overs():
            _end(pid, 1.0)
        for name in ("slurmdbd", "mariadbd", "munged"):
            self._end_by_pid_file(name)
        hosts = Path("/etc/hosts")
        kept = [line for line in hosts.read_text().splitlines() if not line.endswith(self._mark)]
        hosts.write_text("\n".join(kept) + "\n")

    def ask(self, *command: str) -> str:
        """What a SLURM command says; nothing if it fails."""
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=20, check=False
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    @property
    def _mark(self) -> str:
        return f"# throw-away SLURM in {self.folder}"

    def _write_configuration(self) -> None:
        ports = _free_ports(self.nodes + 2)
        key = self.folder / "munge" / "key"
        if not key.exists():
            key.write_bytes(secrets.token_bytes(1024))
            key.chmod(0o600)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # A GPU needs a device file, and any will do.
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null,/dev/zero\n")
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} "
            f"RealMemory={self.memory_mb} Gres=gpu:2 State=UNKNOWN"
            for name, port in zip(self.names, ports[2:], strict=True)
        )
        storage = "AccountingStorageType=accounting_storage/none"
        if self.accounting:
            storage = (
                "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
                f"AccountingStoragePort={ports[1]}\n"
                f"AccountingStoragePass={self.folder}/munge/socket"  # the socket, not a password
            )
            database = self.folder / "slurmdbd.conf"
            database.write_text(
                f"AuthType=auth/munge\nAuthInfo=socket={self.folder}/munge/socket\nDbdHost={_host()}\n"
                f"DbdAddr=127.0.0.1\nDbdPort={ports[1]}\nSlurmUser=root\nLogFile={self.folder}/log/slurmdbd.log\n"
                f"PidFile={self.folder}/run/slurmdbd.pid\nStorageType=accounting_storage/mysql\n"
                "StorageHost=localhost\nStorageUser=root\nStorageLoc=slurm_acct_db\n"
            )
            database.chmod(0o600)  # slurmdbd refuses anything else
        self.conf.write_text(
            f"""ClusterName=throwaway
SlurmctldHost={_host()}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.folder}/munge/socket,cred_expire=8
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool/%n
SlurmctldLogFile={self.folder}/log/slurmctld.log
SlurmdLogFile={self.folder}/log/slurmd-%n.log
SlurmctldPidFile={self.folder}/run/slurmctld.pid
SlurmdPidFile={self.folder}/run/slurmd-%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
EnforcePartLimits=ALL
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=3
MinJobAge={self.memory_of_jobs_s}
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
{storage}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=low Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 State=UP
"""
        )

    def _write_hosts(self) -> None:
        hosts = Path("/etc/hosts")
        line = f"127.0.0.1 {' '.join(self.names)} {self._mark}"
        if line not in hosts.read_text().splitlines():
            with hosts.open("a") as sink:  # in a container it is a mount, which cannot be replaced
                sink.write(line + "\n")

    def _start_accounting(self) -> None:
        data, sock = self.folder / "db", self.folder / "run" / "db.sock"
        fast = ["--no-defaults", "--user=root", f"--datadir={data}", "--innodb-log-file-size=8M"]
        if not data.exists():
            self._run(
                "mariadb-install-db", *fast, "--skip-test-db", "--auth-root-authentication-method=socket",
                "--auth-root-socket-user=root",
            )  # fmt: skip
        in_background = 'log="$1"; shift; setsid "$@" >>"$log" 2>&1 &'
        self._run(
            "sh", "-c", in_background, "sh", f"{self.folder}/log/mariadbd.log",
            "mariadbd", *fast, "--skip-networking", f"--socket={sock}", "--innodb-buffer-pool-size=64M",
            f"--pid-file={self.folder}/run/mariadbd.pid", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        # The database's socket is no setting of slurmdbd.conf: the client library takes it from here.
        ping = ["mariadb", "--no-defaults", f"--socket={sock}", "-e", "select 'up'"]
        self._wait(30, "database", lambda: "up" in self.ask(*ping))
        self._run("slurmdbd", MYSQL_UNIX_PORT=str(sock))
        # The controller gives up at once if it has never seen the database.
        self._wait(30, "slurmdbd", lambda: "Cluster" in self.ask("sacctmgr", "show", "cluster"))

    def _all_idle(self) -> bool:
        states = self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()
        return len(states) == self.nodes and set(states) <= {"idle", "allocated", "mixed"}

    def _wait(self, seconds: float, what: str, is_there: object) -> None:
        deadline = time.monotonic() + seconds
        while not is_there():  # type: ignore[operator]
            if time.monotonic() > deadline:
                ends = "\n".join(
                    f"--- {path.name}\n{path.read_text(errors='replace')[-1200:]}"
                    for path in sorted((self.folder / "log").glob("*.log"))
                )
                raise RuntimeError(f"no {what} within {seconds:.0f} s\n{ends}")
            time.sleep(0.1)

    def _run(self, *command: str, **variables: str) -> None:
        with (self.folder / "log" / "start.log").open("ab") as log:
            done = subprocess.run(
                command, env={**self.environment, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )  # fmt: skip
        if done.returncode:
            told = (self.folder / "log" / "start.log").read_text(errors="replace")[-1200:]
            raise RuntimeError(f"{command[0]} exited with {done.returncode}: {told}")

    def _is_ours(self, pid: int) -> bool:
        """Ids get reused: a process is ours if it was started with this cluster's configuration."""
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"SLURM_CONF={self.conf}".encode() in variables

    def _pid(self, name: str) -> int | None:
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def _lives(self, name: str) -> bool:
        return self._pid(name) is not None

    def _end_by_pid_file(self, name: str) -> None:
        pid = self._pid(name)
        if pid is not None:
            _end(pid, 10.0)

    def _left_overs(self) -> list[int]:
        """Step daemons and processes of jobs, whose node a test may have killed."""
        found = []
        for entry in Path("/proc").iterdir():
            if (
                entry.name.isdigit()
                and int(entry.name) != os.getpid()
                and self._is_ours(int(entry.name))
            ):
                with suppress(OSError):
                    in_job = b"\0SLURM_JOB_ID=" in b"\0" + (entry / "environ").read_bytes()
                    if in_job or (entry / "comm").read_text().strip() == "slurmstepd":
                        found.append(int(entry.name))
        return found  # fmt: skip


def _end(pid: int, patience_s: float) -> None:
    """TERM, then KILL."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 1.0)):
        with suppress(OSError):
            os.kill(pid, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except OSError:
                return
            time.sleep(0.05)


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def main(arguments: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("verb", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--accounting", action="store_true", help="sacct works, too")
    chosen = parser.parse_args(arguments)
    if reason := why_not():
        parser.exit(1, f"cluster.py: {reason}\n")
    cluster = ThrowAwaySlurm(chosen.folder.resolve(), accounting=chosen.accounting)
    cluster.start() if chosen.verb == "start" else cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
