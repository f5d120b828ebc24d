"""Which files of the wheels a device never reads: `edgeport bundle --slim`.

Found by running: ``tests/converter/bundling`` loads and runs an artifact without them. What a
later numpy or onnxruntime would miss fails at ``edgeport verify``, which the installer runs before
anything serves.
"""

from __future__ import annotations

import re

_LEFT_OUT = re.compile(
    r"""
      numpy/(.*/)?tests/.*                  # tests, a third of numpy's files
    | numpy/f2py/.* | numpy/distutils/.*    # compilers for Fortran and C
    | numpy/(_core|core)/include/.* | numpy/.*\.(a|h|pxd|pyx|lib)  # for building extensions
    | numpy/.*/_[a-z_]*tests\..*            # extensions that only the tests load
    | onnxruntime/(transformers|tools|quantization|datasets|backend)/.*  # for workstations
    | onnxruntime/capi/(lib)?onnxruntime\.(so|dll|dylib|[0-9]).*  # a second engine, for C programs
    | (numpy|onnxruntime)/.*\.pyi           # types, for editors
    """,
    re.VERBOSE,
)


def is_needed(place: str) -> bool:
    """Whether a device reads the file at that place in a wheel."""
    return not _LEFT_OUT.fullmatch(place)
