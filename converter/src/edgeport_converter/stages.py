"""Which stage is running: the caller hears it as it begins, and every error names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeport import ArtifactError, ConversionError, EdgeportError, InferenceError


class Stages:
    """Names the stage that is running.

    Args:
        on_stage: is called with the name of each stage, and with lines about what happens in it.

    Attributes:
        names: of the stages that ran, in order.
    """

    def __init__(self, on_stage: Callable[[str], None] | None) -> None:
        self._on_stage = on_stage
        self.names: list[str] = []

    def tell(self, line: str) -> None:
        """Pass on what happens inside a stage."""
        if self._on_stage:
            self._on_stage(line)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run the block as the stage of that name; any error leaves it as a ConversionError."""
        self.names.append(name)
        self.tell(name)
        try:
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
