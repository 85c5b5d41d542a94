"""Every case by name, in the order of the report, and the workloads that run inside one process."""

from benchmarks.cases import (
    datagrams,
    files,
    firing,
    idle,
    processes,
    scheduling,
    services,
    sockets,
    tasks,
    threads,
    timers,
    tls,
)
from benchmarks.model import Case, Workload

_GROUPS = (scheduling, threads, tasks, timers, firing, idle, services, sockets, files, datagrams, processes, tls)

CASES: dict[str, Case] = {case.name: case for group in _GROUPS for case in group.CASES}

WORKLOADS: dict[str, Workload] = {
    **{case.name: case.workload for case in CASES.values() if case.workload is not None},
    "arm_and_cancel": timers.arm_and_cancel,
    "fire": firing.fire_workload,
}
