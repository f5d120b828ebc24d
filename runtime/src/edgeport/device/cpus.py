"""What this device allows: the CPUs that the process may use, and how many threads pay.

Nothing here touches the engine; ``loading`` asks once.
"""

from __future__ import annotations

import math
import os

from edgeport.checks import whole_number
from edgeport.signals import reraise_signal

THREADS_VARIABLE = "EDGEPORT_THREADS"

# Below this, a second thread costs more to wake than it saves, and one thread leaves no pool
# behind. Source: tests/benchmarks/bench.json: two threads are slower than one on MobileNetV3Small,
# which lies below, and faster on MobileNetV2, the next larger network; what lies between them is
# not measured.
_MULTIPLY_ACCUMULATES_WORTH_THREADS = 50_000_000

_MOST_THREADS = 1024  # no device has more CPUs, and the engine takes 32-bit numbers only

_REMEDY = "leave it out to let edgeport choose"


def choose_threads(
    requested: int | None, multiply_accumulates: int | None, tuned: int | None = None
) -> int:
    """Return the number of threads for one model.

    Args:
        requested: the caller's number, which wins; None to choose.
        multiply_accumulates: the model's arithmetic per sample, None where unknown.
        tuned: what was measured to be best on this device, None where nothing was.

    Returns:
        The request, else ``EDGEPORT_THREADS``, else what was tuned, else 1 for a small or unknown
        model, else the number of CPUs that this process may use.

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
    if multiply_accumulates is None or multiply_accumulates < _MULTIPLY_ACCUMULATES_WORTH_THREADS:
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


def _cgroup_quota(root: str | os.PathLike[str] = "/sys/fs/cgroup") -> float | None:
    """Return the CPU quota of this container in CPUs, None where there is none.

    Source: the kernel's admin guide; ``cpu.max`` of cgroup v2 holds "quota period", and v1
    holds ``cpu.cfs_quota_us`` (-1 for none) and ``cpu.cfs_period_us``.
    """

    def read(name: str) -> str:
        with open(os.path.join(root, name), encoding="ascii") as file:
            return file.read()

    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join(map(read, names)).split()
            limit = float(quota) / float(period)
        except OSError as cause:  # the other version of cgroups, or none
            reraise_signal(cause)
            continue
        except (ValueError, ZeroDivisionError) as cause:  # "max 100000"
            reraise_signal(cause)
            return None
        return limit if limit > 0 else None
    return None
