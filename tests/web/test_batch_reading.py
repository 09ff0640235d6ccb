"""Results out of their files: any part of them, whatever the sizes of files, lines and pieces."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jupyter_mlserve.contract.errors import BundleCorrupt
from jupyter_mlserve.store.batches import BatchFiles, Chunk, new_id
from jupyter_mlserve.web.batch import reading


@pytest.mark.parametrize("piece", [5, 17, 256 * 1024])
def test_any_part_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(reading, "PIECE", piece)
    files = BatchFiles(tmp_path)
    choose = random.Random(piece)
    for _ in range(10):
        id = new_id()
        folder = files.folder(id)
        (folder / "results").mkdir(parents=True)
        records: list[bytes] = []
        chunks = []
        while len(records) < 12:
            lines = [
                b'{"%s"}' % (b"x" * choose.randint(0, 12)) for _ in range(choose.randint(1, 5))
            ]
            data = b"\n".join(lines) + choose.choice([b"", b"\n"])
            size, crc = files.write_result(id, len(records), len(lines), data)
            chunks.append(Chunk(len(records), len(lines), "lines", 0, size, crc))
            records += lines
        for _ in range(8):
            first = choose.randint(0, len(records))
            stop = choose.randint(first, len(records))
            for separator in (b",", b"\n"):
                found = b"".join(reading.joined(folder, chunks, first, stop, separator))
                assert found == separator.join(records[first:stop])
        for chunk in chunks:
            assert reading.line(folder, chunk, chunk.first) == records[chunk.first]
        broken = folder / "results" / chunks[0].name
        broken.write_bytes(broken.read_bytes()[:-1] + b"?")
        with pytest.raises(BundleCorrupt):
            list(reading.joined(folder, chunks, 0, 1, b","))
