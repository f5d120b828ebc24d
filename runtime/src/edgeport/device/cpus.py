"""The CPUs that the process may use, and how many threads are worthwhile. ``loading`` calls it."""

from __future__ import annotations

import math
import os

from edgeport.checks import whole_number
from edgeport.inputs.batching import WORTH_THREADS
from edgeport.signals import reraise_signal

THREADS_VARIABLE = "EDGEPORT_THREADS"

_MOST_THREADS = 1024  # no device has more CPUs, and the engine takes 32-bit numbers only

_REMEDY = "leave it out to let edgeport choose"


def choose_threads(
    requested: int | None, multiply_accumulates: int | None, tuned: int | None = None
) -> int:
    """Return the number of threads for one model.

    Returns:
        The request, else ``EDGEPORT_THREADS``, else what was tuned, else 1 where one sample is not
        worth a second thread or its work is unknown, else the number of CPUs that this process may
        use.

    Raises:
        OptionError: the request or the variable is no positive whole number.
    """
    if requested is not None:
        return whole_number(requested, "threads", highest=_MOST_THREADS, remedy=_REMEDY)
    variable = os.environ.get(THREADS_VARIABLE)
    if variable:
        is_number = variable.strip().isdecimal() and len(variable) < 10
        number = int(variable) if is_number else variable
        return whole_number(number, THREADS_VARIABLE, highest=_MOST_THREADS, remedy=_REMEDY)
    if tuned is not None:
        return tuned
    if multiply_accumulates is None or multiply_accumulates < WORTH_THREADS:
        return 1
    return usable_cpus()


def usable_cpus() -> int:
    """Return the CPUs this process may use: its affinity, capped by the cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:  # Windows and macOS
        count = os.cpu_count() or 1
    quota = _cgroup_quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def _cgroup_quota(
    root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup"
) -> float | None:
    """Return the CPU quota of this process in CPUs, None where there is none.

    It is the lowest of its own control group and of all groups around it. A container may see its
    group as the root of the tree, whatever path the kernel tells.

    Source: the kernel's admin guide; a line of ``/proc/self/cgroup`` is
    "hierarchy:controllers:path"; ``cpu.max`` of cgroup v2 holds "quota period", and v1 holds
    ``cpu.cfs_quota_us`` (-1 for none) and ``cpu.cfs_period_us``.
    """
    groups = [("", "/"), ("cpu", "/")]  # the roots of v2 and v1
    for line in _read(membership).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            groups += [("", path)]
        elif "cpu" in controllers.split(","):
            groups += [("cpu", path), (controllers, path)]
    quotas = []
    for hierarchy, path in groups:
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            quotas.append(_quota(os.path.join(root, hierarchy, *parts[:depth])))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(folder: str) -> float | None:
    """Return the quota of one control group in CPUs, None where it has none."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    text = _read(os.path.join(folder, "cpu.max")) or " ".join(
        _read(os.path.join(folder, name)) for name in names
    )
    try:
        quota, period = map(float, text.split())
        limit = quota / period
    except (ValueError, ZeroDivisionError) as cause:  # "max 100000", or no such group
        reraise_signal(cause)
        return None
    return limit if 0 < limit < math.inf else None


def _read(path: str) -> str:
    """Return the text of a kernel file, nothing where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as cause:
        reraise_signal(cause)
        return ""
