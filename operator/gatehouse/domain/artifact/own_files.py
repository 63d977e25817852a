"""Checks of the two files beside a model that no manifest covers: the manifest as a file, and the signature over it.

Both reach the Pod like every other object below the prefix. Each must have one exact form, or the artifact is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from gatehouse.domain.artifact import manifest
from gatehouse.domain.artifact.signature import LARGEST_SIGNATURE, check_bundle
from gatehouse.domain.common.format_error import FormatError, shown

__all__ = ["LARGEST_MANIFEST", "check_manifest", "check_manifest_size", "check_signature", "check_signature_size"]

LARGEST_MANIFEST: Final = 10_000 * (manifest.MAX_PATH_BYTES + 67)
_REMEDY: Final = "Remove it, or let gatehouse upload write it again."
_SHOWN: Final = 3


def check_manifest_size(size: int) -> None:
    """Raises FormatError for a file larger than any manifest, before the file is read."""
    if size > LARGEST_MANIFEST:
        raise _refusal(f"{size} bytes", f"at most {LARGEST_MANIFEST} bytes")


def check_manifest(text: bytes, files: Mapping[str, str]) -> None:
    """Check that the file is exactly the manifest of the files: hex SHA-256 by path.

    Raises FormatError with the rules ManifestMismatch, ManifestInvalid, HostileName.
    """
    entries = (manifest.ManifestEntry(path, 0, sha256) for path, sha256 in files.items())
    right = manifest.render(entries).encode()
    if text == right:
        return
    try:
        stated = manifest.parse(text.decode())
    except UnicodeDecodeError:
        raise _refusal("bytes that are not UTF-8", "the manifest of the files") from None
    differing = sorted(path for path in stated.keys() | files.keys() if stated.get(path) != files.get(path))
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    raise _refusal(
        f"other entries than the files for {', '.join(map(shown, differing[:_SHOWN]))}{more}",
        f"the manifest of the files, sha256:{hashlib.sha256(right).hexdigest()}",
    )


def check_signature_size(size: int) -> None:
    """Raises FormatError for a file larger than any signature, before the file is read."""
    if size > LARGEST_SIGNATURE:
        raise FormatError(
            "SignatureInvalid",
            f"{size} bytes",
            f"a Sigstore bundle of at most {LARGEST_SIGNATURE} bytes",
            "Sign the files again: model_signing sign",
        )


def check_signature(bundle: bytes) -> None:
    """Check that the file is a Sigstore bundle. Policies decide about the files that it signs, and about the signer."""
    check_bundle(bundle)


def _refusal(contents: str, allowed: str) -> FormatError:
    return FormatError("ManifestMismatch", contents, allowed, _REMEDY)
