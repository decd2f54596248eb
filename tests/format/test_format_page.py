# SPDX-License-Identifier: Apache-2.0
"""docs/formats.md against the golden directories: its worked bytes are bytes of theirs, and what it
says of the catalog takes each segment's frames to the next one's base frame."""

import re
from pathlib import Path

import journal_reader as reader
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/formats.md").read_text()
GOLDEN = ROOT / "tests/state/golden"
EXAMPLE = re.compile(r"^`(\S+)`, from byte (\d+):\n\n((?:    .*\n)+)", re.M)


def example(text: str) -> bytes:
    """The bytes in front of the words."""
    lines = [line.strip().split("   ")[0] for line in text.splitlines()]
    return b"".join(bytes.fromhex(line) for line in lines)


def test_the_worked_bytes_are_those_of_the_golden_directory():
    shown = []
    for name, offset, text in EXAMPLE.findall(PAGE):
        data = example(text)
        golden = (GOLDEN / "format-1" / name).read_bytes()
        assert golden[int(offset) :].startswith(data), f"{name} from byte {offset}"
        shown.append((name, int(offset), len(data)))
    name = "segment-0000000002.log"
    assert shown[0] == (name, 0, reader.FILE_HEADER.size)
    journal = reader.Journal(GOLDEN / "format-1")
    frame = journal.directory.frame(2, shown[1][1], 1 << 20)
    assert shown[1:] == [(name, frame.offset, frame.bytes)]
    assert [(piece.kind, piece.count) for piece in frame.pieces] == [(reader.LOG_SECTION, 1)]


def ranges(pieces: list[reader.Piece]) -> dict[int, reader.LogRange]:
    """What the page says that `sealed` holds of the logs."""
    found: dict[int, reader.LogRange] = {}
    for first, *more in reader.sections(pieces):
        if first.kind != reader.LOG_SECTION:
            continue
        log = found.setdefault(first.id, reader.LogRange(first.base, 0, 0, first.largest))
        log.end = first.base + first.count
        log.bytes += sum(piece.length for piece in (first, *more))
        log.largest = max(log.largest, first.largest)
    return dict(sorted(found.items()))


def sealed_from(journal: reader.Journal, number: int) -> tuple[reader.Sealed, reader.Catalog]:
    """A sealed segment as it should be listed, and the catalog behind its last frame."""
    name = reader.segment_name(number)
    first = journal.directory.header(name, reader.SEGMENT, number)
    at, frames, catalog = reader.FILE_HEADER.size, [], None
    while frame := journal.directory.frame(number, at, len(journal.directory.content(name))):
        for whole in reader.sections(frame.pieces):
            if whole[0].kind == reader.CATALOG_SECTION:
                data = b"".join(journal.directory.bytes_of(piece, name) for piece in whole)
                if frame.kind == reader.BASE:
                    catalog = reader.Catalog(data)
                else:
                    catalog.apply(data, frame.sequence)
        for piece in frame.pieces:
            if piece.kind == reader.LOG_SECTION and piece.count:
                catalog.appended(piece.id, piece.base, piece.count)
        frames.append(frame)
        at += frame.bytes
    pieces = [piece for frame in frames for piece in frame.pieces]
    stores = sorted({piece.id for piece in pieces if piece.kind == reader.STORE_SECTION})
    blobs = list(dict.fromkeys(piece.blob for piece in pieces if piece.blob))
    last = frames[-1]
    listed = reader.Sealed(
        number, False, first, last.sequence, at, last.checksum, ranges(pieces), stores, blobs
    )
    return listed, catalog


@pytest.mark.parametrize("directory", sorted(GOLDEN.glob("format-*")), ids=lambda path: path.name)
def test_frames_lead_from_one_base_frame_to_the_next(directory: Path):
    journal = reader.Journal(directory)
    numbers = sorted(int(match[1]) for name in journal.directory.names
                     if (match := reader.SEGMENT_NAME.fullmatch(name)))  # fmt: skip
    assert len(numbers) > 3
    for number, following in zip(numbers, numbers[1:]):
        listed, catalog = sealed_from(journal, number)
        catalog.sealed.append(listed)
        base = journal.directory.frame(following, reader.FILE_HEADER.size, 1 << 20)
        assert base.previous == listed.checksum
        name = reader.segment_name(following)
        data = b"".join(journal.directory.bytes_of(piece, name) for piece in base.pieces)
        assert vars(reader.Catalog(data)) == vars(catalog), f"base frame of {name}"


def test_archives_list_what_is_in_them():
    journal = reader.Journal(GOLDEN / "format-1")
    archives = [sealed for sealed in journal.catalog.sealed if sealed.archive]
    assert archives
    for sealed in archives:
        content = journal.directory.content(sealed.name())
        pieces = journal.read_index(sealed)
        assert reader.hash64(content[sealed.end :]) == sealed.checksum
        assert ranges(pieces) == sealed.logs
        assert sum(piece.length for piece in pieces) == sealed.end - reader.FILE_HEADER.size
