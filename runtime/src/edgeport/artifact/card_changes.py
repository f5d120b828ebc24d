"""What callers would notice if an artifact took the place of another, as ``reload`` has it do."""

from __future__ import annotations

from edgeport.artifact.card import ModelCard, format_shape, format_specs


def first_difference(old: ModelCard, new: ModelCard) -> str | None:
    """Return what callers would notice first, such as moved axes or labels; None for nothing."""
    for kind in ("inputs", "outputs"):
        was, now = format_specs(getattr(old, kind)), format_specs(getattr(new, kind))
        if was != now:
            return f"the {kind} {now}, expected those that are being served, {was}"
    for one, other in zip(old.inputs + old.outputs, new.inputs + new.outputs, strict=True):
        if one.axes != other.axes and sorted(one.axes) == sorted(other.axes):
            served, found = format_shape(one.axes), format_shape(other.axes)
            return f"'{one.name}' with the axes {found}, expected the order being served, {served}"
    if [(one.name, one.input) for one in old.columns] != [
        (one.name, one.input) for one in new.columns
    ]:
        served, found = (", ".join(one.name for one in card.columns[:12]) for card in (old, new))
        return f"the columns {found or 'none'}, expected those being served, {served or 'none'}"
    for was_column, column in zip(old.columns, new.columns, strict=True):
        unit, served_unit = column.unit, was_column.unit
        if unit and served_unit and unit != served_unit:
            return f"the column '{column.name}' in {unit}, expected it as served, in {served_unit}"
    for name, frames in new.frames.items():
        served_frames = old.frames.get(name, frames)
        if frames.order != served_frames.order:
            return f"frames in the order {frames.order}, expected that being served, " + (
                served_frames.order
            )
    if new.samples_interact and not old.samples_interact:
        return "answers that depend on the whole batch, expected one for each sample by itself"
    if old.signal != new.signal:
        found, served = (card.signal.in_words if card.signal else "" for card in (new, old))
        return f"the signal '{found}', expected the one being served, '{served}'"
    if old.is_vouched_for and not new.is_vouched_for:
        return "no card, expected one, as the artifact that is being served has"
    before = old.labels or ()
    for place, label in enumerate(new.labels or ()):
        if label in before and before[place : place + 1] != (label,):
            return f"the label '{label}' in place {place}, expected it where it is being served"
    return None
