"""The command `edgeport bundle`, which the runtime's command finds by its entry point."""

from __future__ import annotations

import argparse
from typing import Any

from edgeport_converter.bundling.platforms import PLATFORMS, PYTHONS


def add_bundle(commands: Any) -> None:
    """Add the command to the sub-parsers of `edgeport`."""
    parser = commands.add_parser(
        "bundle",
        help="write an archive for a device without a network",
        description="Write an archive with the artifact, the wheels of edgeport, numpy and "
        "onnxruntime for a device's platform, and an installer that needs that Python alone.",
    )
    add = parser.add_argument
    add("artifact", metavar="MODEL.onnx", help="an artifact of `edgeport convert`")
    add("-o", "--output", metavar="OUT.tar.gz", required=True, help="the archive")
    add("--platform", required=True, metavar="P", help=f"the device: {', '.join(PLATFORMS)}")
    add("--python", required=True, metavar="V", help=f"its Python: {', '.join(PYTHONS)}")
    variants = "a further artifact of the same model, for 'edgeport tune'; may be repeated"
    add("--variant", metavar="FILE", action="append", default=[], help=variants)
    extras = "what else edgeport gets there: images, sign, ... separated by commas"
    add("--extras", metavar="E,E", default="", help=extras)
    add("--tuning", metavar="FILE", help="what 'edgeport tune' wrote on a device of this kind")
    add("--slim", action="store_true", help="leave out what no device reads, such as tests")
    add("--containerfile", action="store_true", help="add a Containerfile with a health check")
    add("--key", metavar="KEY.pem", help="sign the manifest with this private key of Ed25519")
    add("--version", type=int, metavar="V", help="with --key: grows with each release")
    wheel = "the wheel of edgeport (default: made of what is installed here)"
    add("--wheel", metavar="FILE", help=wheel)
    add("--wheels", metavar="DIR", help="take wheels from this folder alone, without a network")
    add("--constraint", metavar="FILE", help="versions to choose, as for pip")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from edgeport_converter.bundling.bundle import INSTALLER, write_bundle

    report = write_bundle(
        options.artifact,
        options.output,
        platform=options.platform,
        python=options.python,
        variants=options.variant,
        extras=[name.strip() for name in options.extras.split(",") if name.strip()],
        tuning=options.tuning,
        wheel=options.wheel,
        wheels=options.wheels,
        constraints=options.constraint,
        slim=options.slim,
        with_containerfile=options.containerfile,
        key=options.key,
        version=options.version,
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))
    needs = f", {report.system} or newer" if report.system else ""
    slim = f", {report.left_out_bytes / 1e6:.1f} MB left out" if options.slim else ""
    signed = "signed" if report.is_signed else "not signed"
    print(f"bundle       {report.file}: {report.file_bytes / 1e6:.1f} MB{slim}, {signed}")
    print(f"sha256       {report.sha256}")
    print(f"for          {report.platform}, Python {report.python}{needs}: {versions}")
    print(f"there        tar -xzf {report.file}")
    trusted = " --public-key maker.pem" if report.is_signed else ""
    if report.platform.startswith("windows"):
        print(f"             py -{report.python} {INSTALLER} --target C:\\edgeport{trusted}")
    else:
        print(f"             python{report.python} {INSTALLER} --target /opt/edgeport{trusted}")
