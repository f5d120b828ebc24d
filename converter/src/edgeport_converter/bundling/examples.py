"""A systemd unit and a Containerfile, for those who deploy them.

Both stand in the bundle as text, with a digest each, as every file there: the unit is copied out
and changed there, and the Containerfile is used as it is. ``install.py`` reads neither.
"""

from __future__ import annotations

SYSTEMD = """\
# An example. Your own program stands in ExecStart; change /opt/edgeport if you install elsewhere.
# Install it as /etc/systemd/system/edgeport-app.service, and restart it after each update.
[Unit]
Description=A program that asks the artifact of edgeport
After=local-fs.target

[Service]
ExecStartPre=/opt/edgeport/current/bin/edgeport verify /opt/edgeport/current/model.onnx
ExecStart=/opt/edgeport/current/bin/python /opt/app/main.py
Restart=on-failure
DynamicUser=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateNetwork=yes
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""

_CONTAINERFILE = """\
# Build it in the bundle's folder:
#     podman build --format docker --platform {platform} -t device .
# docker takes the same without --format; podman and buildah leave the health check out without it.
# Another base, such as one of your own registry: --build-arg BASE=registry.example/python:{python}
# The installer refuses a bundle that was changed, this file too. Your own program goes into an
# image on top of this one: FROM device, COPY it, and run it with
# /opt/edgeport/current/bin/python.
ARG BASE=docker.io/library/python:{python}-slim
FROM ${{BASE}} AS install
COPY . /bundle
RUN python3 /bundle/install.py --target /opt/edgeport

FROM ${{BASE}}
COPY --from=install /opt/edgeport /opt/edgeport
USER 65534:65534
HEALTHCHECK --interval=5m --timeout=30s \\
    CMD ["/opt/edgeport/current/bin/edgeport", "verify", "/opt/edgeport/current/model.onnx"]
CMD ["/opt/edgeport/current/bin/edgeport", "info", "/opt/edgeport/current/model.onnx"]
"""

_OCI = {
    "linux-x86_64": "linux/amd64",
    "linux-aarch64": "linux/arm64",
    "linux-armv7l": "linux/arm/v7",
}


def containerfile(platform: str, python: str) -> str | None:
    """Return the Containerfile of a bundle for that platform; None for one without containers."""
    if platform not in _OCI:
        return None
    return _CONTAINERFILE.format(platform=_OCI[platform], python=python)
