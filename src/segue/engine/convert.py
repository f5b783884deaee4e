"""Public weights into a model file, and the certificate that it computes the same."""

from __future__ import annotations

from pathlib import Path

from segue.errors import CheckpointError, UsageError
from segue.files import atomic_write
from segue.models.checkpoints import convert_foreign, read_foreign
from segue.models.checkpoints.verify import Certificate
from segue.models.checkpoints.verify import verify as compare
from segue.models.weights import ModelFile, write_model


def convert_file(path: Path, out: Path, source: str | None = None) -> ModelFile:
    """Read the weights file of another framework and write it as a model file; returns what was written.

    Raises:
        CheckpointError: the file is damaged, of no known network, or does not fit its network.
        UsageError: the place cannot be written, or is not called ``.safetensors``.
    """
    if out.suffix != ".safetensors":
        raise UsageError(
            "a model file ends in .safetensors", where=out, cure=f"write {out.with_suffix('.safetensors')}"
        )
    model = convert_foreign(read_foreign(path), source)
    write_model(out, model)
    return model


def certify(path: Path, out: Path, model: ModelFile) -> tuple[Certificate, Path]:
    """Compare a converted model with the original, and write the table beside ``out``; returns both.

    Raises:
        CheckpointError: it computes something else than the original; the table is written.
    """
    certificate, table = compare(read_foreign(path), model), out.with_suffix(".parity.md")
    atomic_write(table, certificate.table().encode())
    wrong = [check for check in certificate.checks if not check.passed]
    if wrong:
        raise CheckpointError(
            f"the converted model differs from the original, first in: {wrong[0].stage}",
            where=table,
            cure="do not use it; see the table",
        )
    return certificate, table
