"""A systemd unit and a Containerfile, for those who deploy them: examples to be changed.

Both stand in the bundle as text; ``install.py`` reads neither.
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
ExecStart=/opt/edgeport/current/environment/bin/python /opt/app/main.py
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
# Build in the bundle's folder: podman build --platform {platform} -t device .
FROM python:{python}-slim AS install
COPY . /bundle
RUN python3 /bundle/install.py --target /opt/edgeport

FROM python:{python}-slim
COPY --from=install /opt/edgeport /opt/edgeport
USER 65534:65534
HEALTHCHECK --interval=5m --timeout=30s \\
    CMD ["/opt/edgeport/current/bin/edgeport", "verify", "/opt/edgeport/current/model.onnx"]
# Your own program: COPY it, and run it with /opt/edgeport/current/environment/bin/python.
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
