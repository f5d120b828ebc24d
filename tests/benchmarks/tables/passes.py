"""What each rewriting of the graph is worth: the table of a stored run of `make passes`."""

from __future__ import annotations

from typing import Any

from tables.sections import table

# Two runs of one graph differ by less than this, and a file is no smaller for a name in it.
_NOISE, _BYTES = 0.05, 0.01


def render(run: dict[str, Any]) -> str:
    """Return the tables of one stored run in Markdown."""
    rows = sorted(run["rows"], key=lambda row: (row["rule"].startswith("int8"), row["rule"]))
    told = [row for row in rows if is_told(row)]
    return "\n\n".join(
        [
            "Time of one sample on one thread, nodes and bytes of the graph without the rewriting "
            "over those with it:",
            table(
                ("rewriting", "model", "time", "nodes", "bytes"),
                [
                    (
                        row["rule"],
                        row["model"],
                        f"{row['latency_without_over_with']:.2f}",
                        f"{row['nodes_without']} / {row['nodes']}",
                        f"{row['bytes_without']:,} / {row['bytes']:,}",
                    )
                    for row in told
                ],
            ),
            f"On {run['cpu']}. Left out are {len(rows) - len(told)} rows in which the time changes "
            f"by less than {_NOISE:.0%} and the bytes by less than {_BYTES:.0%}, such as where "
            "onnxruntime does the same at each load.",
        ]
    )


def is_told(row: dict[str, Any]) -> bool:
    """Whether more than noise depends on the rewriting."""
    bytes_ratio = row["bytes_without"] / row["bytes"]
    return abs(row["latency_without_over_with"] - 1) >= _NOISE or abs(bytes_ratio - 1) >= _BYTES
