"""An artifact and all that a device without a network needs: the command `edgeport bundle`.

Modules:

    archive    the bundle's file: a .tar.gz with the same bytes for the same content
    bundle     writing a bundle: checks, wheels, manifest, archive, in this order
    command    the command and its options
    examples   a systemd unit and a Containerfile for those who deploy them
    install    the installer inside a bundle; imports the standard library alone
    manifest   what is in a bundle, with every digest, and the signature
    platforms  which platforms there are, and how wheels name them
    slimming   which files of the wheels a device never reads
    wheel_zip  wheels as files: read, made of an installed package, made smaller
    wheels     the wheels for a platform: found by pip, and a refusal that says what exists

``install`` runs on the device, from the bundle, and checks there what ``manifest`` wrote.
"""
