"""URLs of the remotes of studies."""

from __future__ import annotations

from urllib.parse import urlsplit

from workbench.errors import ConfigError

SCHEMES = frozenset({
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hdfs", "webhdfs", "sftp", "ssh", "smb", "webdav",
    "webdavs", "file", "memory",
})  # fmt: skip
"""The file systems of fsspec that can be written to; a web page, for instance, can only be read."""


def known_remote(url: str) -> str:
    """Check the URL of a remote, and return it as a study stores it.

    Raises:
        ConfigError: It is no URL of a known file system, or holds a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(
            f"A remote is a URL such as s3://bucket/prefix or file:///folder, and this is none: {error}."
        ) from error
    if "::" in url or not url.isprintable() or not parts.scheme or not (parts.netloc or parts.path.strip("/")):
        raise ConfigError("A remote is a URL such as s3://bucket/prefix or file:///folder.")
    if parts.scheme not in SCHEMES:
        known = ", ".join(sorted(SCHEMES))
        raise ConfigError(f"There is no file system for {parts.scheme[:40]}:// that a remote can be on. Known: {known}.")
    if "@" in parts.netloc or parts.query:
        raise ConfigError(
            "Leave keys and options out of the remote's URL, which is kept in the study's folder: give them as its library takes"
            " them, such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL in the environment."
        )
    return url.rstrip("/")
