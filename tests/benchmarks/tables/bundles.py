"""What a device installs, and how soon it answers: the table of a stored run of `make bundles`."""

from __future__ import annotations

from typing import Any

from tables.sections import table

_FIGURES = (
    ("bytes", 1e6, "installed, MB"),
    ("bundle_bytes", 1e6, "bundle, MB"),
    ("cold_start_ms", 1, "first answer, ms"),
    ("peak_bytes", 2**20, "memory, MiB"),
    ("emulated_start_ms", 1e3, "first answer, emulated, s"),
)


def render(run: dict[str, Any]) -> str:
    """Return the table of one stored run in Markdown."""
    shown = [entry for entry in _FIGURES if any(row.get(entry[0]) for row in run["rows"])]
    rows = [
        (
            row["platform"],
            row["environment"],
            *(f"{row[name] / unit:.1f}" if row.get(name) else "" for name, unit, _ in shown),
        )
        for row in run["rows"]
    ]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return "\n\n".join(
        [
            table(("platform", "environment", *(title for _, _, title in shown)), rows),
            f"On {run['cpu']}, Python {run['python']}: {versions}.",
        ]
    )
