"""Which stage is running: the caller hears it as it begins, and every error names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeport import ArtifactError, ConversionError, EdgeportError, InferenceError
from edgeport_converter.progress import Progress, telling


class Stages:
    """Names the stage that is running.

    Args:
        progress: is told the name of each stage, and what happens in it.

    Attributes:
        progress: the same; one that shows nothing where none was given.
        names: of the stages that ran, in order.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self.names: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run the block as the stage of that name; any error leaves it as a ConversionError."""
        self.names.append(name)
        self.progress.stage(name)
        try:
            with telling(self.progress):
                yield
        except ConversionError as error:
            error.stage = error.stage or name
            raise
        except (ArtifactError, InferenceError) as cause:
            # The user gave a model, not an artifact. If the runtime refuses a graph that is still
            # being made, this stage has failed.
            raise ConversionError(
                f"the stage '{name}' made a graph that does not run ({cause}): "
                "report this model, its conversion would be wrong",
                stage=name,
            ) from cause
        except (EdgeportError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as cause:
            reason = str(cause).strip().splitlines() or [""]
            raise ConversionError(
                f"the stage '{name}' failed ({type(cause).__name__}: {reason[0][:300]}): "
                "report this model, with the cause that is chained to this error",
                stage=name,
            ) from cause
