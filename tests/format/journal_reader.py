#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A second reader of Penstock's directories, written from docs/formats.md alone.

usage: journal_reader.py [--values] DIRECTORY...

Prints one line of JSON for each directory: how it ends, and what is in it. Nothing in it is
changed, and no lock is taken: it is for copies, and for directories that nobody has open.

  verdict  {"kind": "end", "torn", "empty", "Corruption" or "FormatTooNew",
            "file", "offset", "sequence", "what"}
  stores   name -> {"id", "entries": [[key, value]...]} or {"id", "error": {"file", "offset", ...}}
  logs     name -> {"id", "start", "end", "maxAgeMs", "maxBytes",
            "epochs": [[epoch, last offset reached in it, or null]...],
            "sections": [[offset of the first record, records, bytes]...]}, and "error" where the
            sections end too early
  claims   name -> incarnation
  epochs   [[epoch, sequence]...]

Bytes are hexadecimal; of names the bytes that are not plain are written %XX. --values gives what
docs/formats/values.md says of each value instead.
"""

import json
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

import xxhash
import zstandard

FORMAT_VERSION = 1
SEGMENT, SNAPSHOT, BLOB, ARCHIVE = 1, 2, 3, 4
COMMIT, BASE, MARK, CLOSE = 1, 2, 3, 4
STORE_SECTION, LOG_SECTION, CATALOG_SECTION = 1, 2, 3
MORE, EXTERNAL = 1, 2

FILE_HEADER = struct.Struct("<8sIIQQII16sQQqQ32sQ")
FRAME_HEADER = struct.Struct("<4sHHQQQQQQqQIIQQQ")
DIRECTORY_ENTRY = struct.Struct("<BBHIQQIIqqQ")
INDEX_HEADER = struct.Struct("<8sQQQQQQ")
INDEX_ENTRY = struct.Struct("<QQQQQQqqIIBB6s")
BLOCK_HEADER = struct.Struct("<4sIQQIIQ")
SNAPSHOT_FOOTER = struct.Struct("<8sQQQQQQQQQ")
SECTION_BYTES_MAX = 1 << 20
ENTRIES_MAX = 1 << 24
EPOCHS_KEPT = 1000
ENGINES = 1  # the one incompatible feature

SEGMENT_NAME = re.compile(r"segment-([0-9]{10})\.log")
OTHER_NAME = re.compile(
    r"snapshot-[0-9a-f]{16}\.snap|blob-[0-9a-f]{16}\.blob|archive-[0-9a-f]{16}\.arch"
)


class Refused(Exception):
    """A directory, or the part of it that was asked for, is not what the page says."""

    def __init__(self, file: str, offset: int, what: str, kind: str = "Corruption"):
        super().__init__(f"{kind}: {file}, offset {offset}: {what}")
        self.kind, self.file, self.offset, self.what = kind, file, offset, what

    def json(self) -> dict:
        return {"kind": self.kind, "file": self.file, "offset": self.offset, "what": self.what}


class Malformed(Exception):
    """Bytes under a good checksum that cannot be parsed; whoever knows the file turns it around."""


def hash64(data: bytes, seed: int = 0) -> int:
    return xxhash.xxh3_64_intdigest(data, seed=seed)


class Cursor:
    """Reads the page's primitive types one after the other."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def more(self) -> bool:
        return self.at < len(self.data)

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise Malformed("a field reaches beyond the end")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value
        raise Malformed("a varint of more than 64 bits")

    def text(self) -> bytes:
        return self.take(self.varint())


# ---- Catalog --------------------------------------------------------------------------------


ENGINE_FILE, ENGINE_ROCKSDB = 0, 2


def read_engine(cursor: Cursor) -> int:
    engine = cursor.number(1)
    if engine not in (ENGINE_FILE, ENGINE_ROCKSDB):
        raise Malformed(f"there is no engine {engine}")
    return engine


@dataclass
class Snapshot:
    file: int
    covers: int
    bytes: int
    footer: int
    database: bool = False

    @staticmethod
    def read(cursor: Cursor) -> "Snapshot":
        return Snapshot(cursor.number(8), cursor.varint(), cursor.varint(), cursor.number(8))


@dataclass
class StoreEntry:
    name: bytes
    snapshot: Snapshot
    engine: int = ENGINE_FILE


@dataclass
class LogEntry:
    name: bytes
    max_age_ms: int
    max_bytes: int
    start: int = 0
    end: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=list)  # index, offset at its start

    def reached(self, epoch: int) -> int | None:
        """The last offset in an epoch that a position may name; None when all of it is trimmed."""
        later = [offset for index, offset in self.epochs if index > epoch]
        last = later[0] if later else self.end
        return last if last >= self.start else None


@dataclass
class LogRange:
    start: int
    end: int
    bytes: int
    largest: int


@dataclass
class Sealed:
    number: int
    archive: bool
    first: int
    last: int
    end: int
    checksum: int
    logs: dict[int, LogRange]
    stores: list[int]
    blobs: list[int]

    @staticmethod
    def read(cursor: Cursor) -> "Sealed":
        number, archive = cursor.number(8), cursor.number(1)
        if archive > 1:
            raise Malformed("neither a segment nor an archive")
        first, last, end = cursor.varint(), cursor.varint(), cursor.varint()
        checksum = cursor.number(8)
        logs = {}
        for _ in range(cursor.varint()):
            log = cursor.varint()
            logs[log] = LogRange(
                cursor.varint(), cursor.varint(), cursor.varint(), cursor.number(8, signed=True)
            )
        stores = [cursor.varint() for _ in range(cursor.varint())]
        blobs = [cursor.number(8) for _ in range(cursor.varint())]
        return Sealed(number, bool(archive), first, last, end, checksum, logs, stores, blobs)

    def name(self) -> str:
        return archive_name(self.number) if self.archive else segment_name(self.number)


class Catalog:
    """What a base frame holds, and what the changes in later frames make of it."""

    def __init__(self, data: bytes):
        cursor = Cursor(data)
        self.next_store, self.next_log = cursor.varint(), cursor.varint()
        self.stores: dict[int, StoreEntry] = {}
        for _ in range(cursor.varint()):
            store = cursor.varint()
            self.stores[store] = StoreEntry(cursor.text(), Snapshot.read(cursor))
        self.logs: dict[int, LogEntry] = {}
        for _ in range(cursor.varint()):
            log = cursor.varint()
            entry = LogEntry(
                cursor.text(), cursor.number(8, signed=True), cursor.number(8, signed=True)
            )
            entry.start, entry.end = cursor.varint(), cursor.varint()
            entry.epochs = [(cursor.varint(), cursor.varint()) for _ in range(cursor.varint())]
            self.logs[log] = entry
        self.claims: dict[bytes, int] = {}
        for _ in range(cursor.varint()):
            name = cursor.text()
            self.claims[name] = cursor.varint()
        self.first_epoch = cursor.varint()
        self.epochs = [(cursor.number(8), cursor.varint()) for _ in range(cursor.varint())]
        self.sealed = [Sealed.read(cursor) for _ in range(cursor.varint())]
        if cursor.more():
            for store in self.stores.values():
                store.engine = read_engine(cursor)
                store.snapshot.database = cursor.number(1) != 0
        if cursor.more():
            raise Malformed("bytes behind the catalog")

    def apply(self, data: bytes, sequence: int) -> None:
        """The changes of one catalog section."""
        cursor = Cursor(data)
        while cursor.more():
            self.apply_one(cursor, sequence)

    def apply_one(self, cursor: Cursor, sequence: int) -> None:
        change = cursor.number(1)
        if change == 1:
            store = cursor.varint()
            self.stores[store] = StoreEntry(cursor.text(), Snapshot(0, 0, 0, 0))
            self.next_store = max(self.next_store, store + 1)
        elif change == 2:
            self.stores.pop(cursor.varint(), None)
        elif change == 3:
            log = cursor.varint()
            self.logs[log] = LogEntry(
                cursor.text(), cursor.number(8, signed=True), cursor.number(8, signed=True)
            )
            self.next_log = max(self.next_log, log + 1)
        elif change == 4:
            self.logs.pop(cursor.varint(), None)
        elif change == 5:
            log = cursor.varint()
            kept = cursor.number(8, signed=True), cursor.number(8, signed=True)
            if log in self.logs:
                self.logs[log].max_age_ms, self.logs[log].max_bytes = kept
        elif change == 6:
            log, offset = cursor.varint(), cursor.varint()
            if log in self.logs:
                entry = self.logs[log]
                entry.start = max(entry.start, min(offset, entry.end))
        elif change == 7:
            name = cursor.text()
            self.claims[name] = cursor.varint()
        elif change == 8:
            self.epochs.append((cursor.number(8), sequence))
            if len(self.epochs) > EPOCHS_KEPT:
                del self.epochs[0]
                self.first_epoch += 1
                for entry in self.logs.values():
                    entry.epochs = [one for one in entry.epochs if one[0] >= self.first_epoch]
        elif change == 9:
            store, snapshot = cursor.varint(), Snapshot.read(cursor)
            if store in self.stores and snapshot.covers > self.stores[store].snapshot.covers:
                self.stores[store].snapshot = snapshot
        elif change == 10:
            self.remove_sealed(cursor)
        elif change == 11:
            sealed = Sealed.read(cursor)
            self.remove_sealed(cursor)
            self.sealed.append(sealed)
            self.sealed.sort(key=lambda one: one.first)
        elif change == 12:
            store, engine = cursor.varint(), read_engine(cursor)
            if store in self.stores:
                self.stores[store].engine = engine
        elif change == 13:
            store = cursor.varint()
            snapshot = Snapshot(cursor.number(8), cursor.varint(), 0, 0, database=True)
            if store in self.stores and snapshot.covers > self.stores[store].snapshot.covers:
                self.stores[store].snapshot = snapshot
        else:
            raise Malformed(f"there is no change {change} of the catalog")

    def remove_sealed(self, cursor: Cursor) -> None:
        gone = {cursor.number(8) for _ in range(cursor.varint())}
        self.sealed = [sealed for sealed in self.sealed if sealed.number not in gone]

    def appended(self, log_id: int, base: int, count: int) -> None:
        """A log got a section of records."""
        if log_id not in self.logs:
            return
        log = self.logs[log_id]
        if base != log.end:
            raise Malformed("records do not follow those before them")
        index = self.first_epoch + max(len(self.epochs) - 1, 0)
        if not log.epochs or log.epochs[-1][0] != index:
            log.epochs.append((index, base))
        log.end += count


# ---- Files ----------------------------------------------------------------------------------


def segment_name(number: int) -> str:
    return f"segment-{number:010}.log"


def snapshot_name(number: int) -> str:
    return f"snapshot-{number:016x}.snap"


def blob_name(number: int) -> str:
    return f"blob-{number:016x}.blob"


def archive_name(number: int) -> str:
    return f"archive-{number:016x}.arch"


@dataclass
class Piece:
    """One entry of a directory of sections, or of an index, and where its bytes lie."""

    kind: int
    flags: int
    length: int
    id: int
    base: int
    count: int
    smallest: int
    largest: int
    hash: int
    blob: int = 0
    offset: int = 0
    sequence: int = 0


@dataclass
class Frame:
    offset: int
    bytes: int
    kind: int
    sequence: int
    synced: int
    previous: int
    checksum: int
    blob: int
    pieces: list[Piece]


class Directory:
    """The files of one directory, and the journal id that all of them must have."""

    def __init__(self, path: Path):
        self.path = path
        self.names = {entry.name for entry in path.iterdir()}
        self.journal = b""  # from the first header that is read
        self.contents: dict[str, bytes] = {}

    def content(self, name: str) -> bytes:
        if name not in self.contents:
            if name not in self.names:
                raise Refused(name, 0, "is missing")
            self.contents[name] = (self.path / name).read_bytes()
        return self.contents[name]

    def header(self, name: str, kind: int, number: int, store: int = 0) -> int:
        """Checks a file's header; the sequence of its first frame."""
        content = self.content(name)
        if len(content) < FILE_HEADER.size:
            raise Refused(name, 0, "too short for a header")
        fields = FILE_HEADER.unpack_from(content)
        magic, _, oldest, incompatible, _, order, found, journal, own, of_store = fields[:10]
        if magic != b"PENSTOCK":
            raise Refused(name, 0, "not a file of Penstock")
        if hash64(content[:120]) != fields[13]:
            raise Refused(name, 0, "the header's hash is wrong")
        if order != 0x01020304 or oldest > FORMAT_VERSION or incompatible & ~ENGINES:
            raise Refused(name, 0, "needs another reader", "FormatTooNew")
        if found != kind:
            raise Refused(name, 0, f"has kind {found}, not {kind}")
        if self.journal and journal != self.journal:
            raise Refused(name, 0, "belongs to another journal")
        if own != number:
            raise Refused(name, 0, f"is file {own}, not {number}")
        if kind == SNAPSHOT and of_store != store:
            raise Refused(name, 0, f"is a snapshot of store {of_store}, not {store}")
        self.journal = journal
        return fields[11]

    def bytes_of(self, piece: Piece, name: str) -> bytes:
        """A section's bytes, from the file named or from the blob, verified."""
        offset = piece.offset
        if piece.blob:
            name = blob_name(piece.blob)
            self.header(name, BLOB, piece.blob)
        content = self.content(name)
        data = content[offset : offset + piece.length]
        if len(data) != piece.length or hash64(data) != piece.hash:
            raise Refused(name, offset, "the section does not have its hash")
        return data

    def frame(self, number: int, offset: int, end: int) -> Frame | None:
        """The frame at an offset of a segment whose header and directory are right."""
        content = self.content(segment_name(number))
        if offset + FRAME_HEADER.size > end:
            return None
        fields = FRAME_HEADER.unpack_from(content, offset)
        magic, kind, _, length, sequence, synced, segment, place, previous = fields[:9]
        low, count, _, _, blob, checksum = fields[10:]
        if (magic, segment, place) != (b"PFR1", number, offset):
            return None
        if low != int.from_bytes(self.journal[:8], "little") or count > ENTRIES_MAX:
            return None
        directory_end = offset + FRAME_HEADER.size + count * DIRECTORY_ENTRY.size
        if directory_end > end:
            return None
        directory = content[offset + FRAME_HEADER.size : directory_end]
        if hash64(directory, hash64(content[offset : offset + 96])) != checksum:
            return None
        frame = Frame(offset, length, kind, sequence, synced, previous, checksum, blob, [])
        inline, external = directory_end, FILE_HEADER.size
        for entry in DIRECTORY_ENTRY.iter_unpack(directory):
            kind, flags, _, size, id_, base, records, _, smallest, largest, own_hash = entry
            if size > SECTION_BYTES_MAX:
                return None
            if flags & EXTERNAL:
                where, external = external, external + size
            else:
                where, inline = inline, inline + size
            in_blob = blob if flags & EXTERNAL else 0
            frame.pieces.append(
                Piece(kind, flags, size, id_, base, records, smallest, largest, own_hash, in_blob,
                      where, sequence)
            )  # fmt: skip
        return frame if (inline - offset + 7) // 8 * 8 == length else None

    def whole(self, frame: Frame, number: int, end: int) -> bool:
        """Whether all of a frame is there, and every inline section has its hash."""
        content = self.content(segment_name(number))
        return frame.offset + frame.bytes <= end and all(
            hash64(content[piece.offset : piece.offset + piece.length]) == piece.hash
            for piece in frame.pieces
            if not piece.blob
        )


def understood(frame: Frame) -> bool:
    """Whether a valid frame has nothing in it that the page does not know."""
    if frame.kind not in (COMMIT, BASE, MARK, CLOSE):
        return False
    if frame.kind in (MARK, CLOSE) and frame.pieces:
        return False
    return all(
        piece.kind in (STORE_SECTION, LOG_SECTION, CATALOG_SECTION)
        and not piece.flags & ~(MORE | EXTERNAL)
        and not (piece.flags & EXTERNAL and (piece.kind == CATALOG_SECTION or not piece.blob))
        for piece in frame.pieces
    )


def sections(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces that belong together: all but the last of a section say that there is more."""
    whole: list[list[Piece]] = []
    going_on = False
    for piece in pieces:
        if going_on:
            first = whole[-1][0]
            if (piece.kind, piece.id, piece.blob) != (first.kind, first.id, first.blob):
                raise Malformed("a section goes on as another one")
            whole[-1].append(piece)
        else:
            whole.append([piece])
        going_on = bool(piece.flags & MORE)
    if going_on:
        raise Malformed("a section has no end")
    return whole


# ---- Recovery -------------------------------------------------------------------------------


def index_footer(content: bytes, journal: bytes, segment: int, at: int) -> list[Piece] | None:
    """The index footer at an offset; None where there is none, or a damaged one."""
    if at + INDEX_HEADER.size > len(content):
        return None
    magic, low, number, own, count, hash_, check = INDEX_HEADER.unpack_from(content, at)
    if hash64(content[at : at + 48]) != check or magic != b"PINDEX01":
        return None
    if low != int.from_bytes(journal[:8], "little"):
        return None
    if (number, own) != (segment, at):
        return None
    at += INDEX_HEADER.size
    entries = content[at : at + count * INDEX_ENTRY.size]
    if len(entries) != count * INDEX_ENTRY.size or hash64(entries) != hash_:
        return None
    pieces = []
    for entry in INDEX_ENTRY.iter_unpack(entries):
        sequence, id_, base, blob, offset, own_hash, smallest, largest = entry[:8]
        length, records, kind, flags, _ = entry[8:]
        pieces.append(
            Piece(kind, flags, length, id_, base, records, smallest, largest, own_hash, blob,
                  offset, sequence)
        )  # fmt: skip
    return pieces


class Journal:
    """What a directory holds once its active segment is read."""

    def __init__(self, path: Path):
        self.directory = directory = Directory(path)
        self.verdict: dict = {}
        self.catalog: Catalog | None = None
        self.frames: list[Frame] = []
        self.indexes: dict[int, list[list[Piece]]] = {}
        self.last = 0
        numbers = sorted(
            int(match[1]) for name in directory.names if (match := SEGMENT_NAME.fullmatch(name))
        )
        if not numbers:
            if any(name == "JOURNAL" or OTHER_NAME.fullmatch(name) for name in directory.names):
                raise Refused(".", 0, "parts of a journal without its segments")
            self.verdict = {"kind": "empty"}
            return
        self.active = numbers[-1]
        self.recover()
        self.check_files()

    def recover(self) -> None:
        name = segment_name(self.active)
        directory = self.directory
        first = directory.header(name, SEGMENT, self.active)
        self.check_identity()
        content = directory.content(name)
        end, expected, previous = FILE_HEADER.size, first, None
        while True:
            frame = directory.frame(self.active, end, len(content))
            if frame is None or not directory.whole(frame, self.active, len(content)):
                break
            if frame.sequence != expected or previous not in (None, frame.previous):
                break
            if (frame.kind == BASE) != (end == FILE_HEADER.size):
                break
            self.take(frame)
            self.frames.append(frame)
            end, expected, previous = end + frame.bytes, expected + 1, frame.checksum
        if not self.frames:
            raise Refused(name, end, "the base frame is not valid")
        self.last = self.frames[-1].sequence
        if not content[end:].strip(b"\0"):
            self.verdict = {"kind": "end"}
            return
        for at in range(end + 8, len(content), 8):
            if content[at : at + 4] == b"PFR1":
                later = directory.frame(self.active, at, len(content))
                if later and later.sequence > expected and later.synced >= expected:
                    raise Refused(name, end, f"frame {expected} was on disk, and is damaged")
        if index_footer(content, directory.journal, self.active, end) is not None:
            raise Refused(segment_name(self.active + 1), 0, "is missing: the one before was sealed")
        self.verdict = {"kind": "torn", "file": name, "offset": end, "sequence": expected}

    def check_identity(self) -> None:
        """JOURNAL names no other journal than the active segment's header."""
        if "JOURNAL" not in self.directory.names:
            return
        words = self.directory.content("JOURNAL").decode("utf-8", "replace").split()
        own = f"{int.from_bytes(self.directory.journal, 'little'):032x}"
        if words[:2] == ["penstock", "journal"] and words[2:3] != [own]:
            raise Refused("JOURNAL", 0, "names another journal")

    def take(self, frame: Frame) -> None:
        """The catalog after a frame."""
        name = segment_name(self.active)
        try:
            if not understood(frame):
                raise Malformed("a kind or flag that this format does not have")
            for pieces in sections(frame.pieces):
                first = pieces[0]
                if first.kind == CATALOG_SECTION:
                    data = b"".join(self.directory.bytes_of(piece, name) for piece in pieces)
                    if frame.kind == BASE:
                        self.catalog = Catalog(data)
                    else:
                        self.catalog.apply(data, frame.sequence)
            if self.catalog is None:
                raise Malformed("the base frame holds no catalog")
            for piece in frame.pieces:
                if piece.kind == LOG_SECTION and piece.count:
                    self.catalog.appended(piece.id, piece.base, piece.count)
        except Malformed as why:
            raise Refused(name, frame.offset, str(why)) from None

    def check_files(self) -> None:
        """Files that the catalog lists are there, and as long as it says."""
        for sealed in self.catalog.sealed:
            if len(self.directory.content(sealed.name())) < sealed.end:
                raise Refused(sealed.name(), 0, "is too short")
            for blob in sealed.blobs:
                self.directory.content(blob_name(blob))
        for frame in self.frames:
            if frame.blob:
                self.directory.content(blob_name(frame.blob))
        for store in self.catalog.stores.values():
            if store.snapshot.file and not store.snapshot.database:
                name = snapshot_name(store.snapshot.file)
                if len(self.directory.content(name)) != store.snapshot.bytes:
                    raise Refused(name, 0, "does not have the length listed")
                if store.snapshot.covers > self.last:
                    raise Refused(name, 0, "covers more than the journal holds")

    # ---- sealed files -----------------------------------------------------------------------

    def index(self, sealed: Sealed) -> list[list[Piece]]:
        """The sections in a sealed file, in order."""
        if sealed.number not in self.indexes:
            try:
                self.indexes[sealed.number] = sections(self.read_index(sealed))
            except Malformed as why:
                raise Refused(sealed.name(), sealed.end, str(why)) from None
        return self.indexes[sealed.number]

    def read_index(self, sealed: Sealed) -> list[Piece]:
        name = sealed.name()
        kind = ARCHIVE if sealed.archive else SEGMENT
        self.directory.header(name, kind, sealed.number)
        pieces = self.footer(sealed)
        if pieces is None:
            if sealed.archive:
                raise Refused(name, sealed.end, "the index of an archive is damaged")
            pieces = [piece for frame in self.sealed_frames(sealed) for piece in frame.pieces]
        return pieces

    def footer(self, sealed: Sealed) -> list[Piece] | None:
        content = self.directory.content(sealed.name())
        return index_footer(content, self.directory.journal, sealed.number, sealed.end)

    def sealed_frames(self, sealed: Sealed) -> list[Frame]:
        """The frames of a sealed segment; their sections are verified when they are read."""
        frames: list[Frame] = []
        at, expected, previous = FILE_HEADER.size, sealed.first, None
        while at < sealed.end:
            frame = self.directory.frame(sealed.number, at, sealed.end)
            if (
                frame is None
                or frame.sequence != expected
                or previous not in (None, frame.previous)
            ):
                raise Refused(sealed.name(), at, "a frame of a sealed segment is damaged")
            frames.append(frame)
            at, expected, previous = at + frame.bytes, expected + 1, frame.checksum
        if (expected - 1, previous) != (sealed.last, sealed.checksum):
            raise Refused(sealed.name(), at, "a sealed segment does not end as listed")
        return frames

    def sections(self, of_interest: Callable[[Sealed], bool]) -> Iterator[tuple[str, list[Piece]]]:
        """Sections of the sealed files that `of_interest` picks, then of the active segment; each
        file is looked at when its turn comes."""
        for sealed in self.catalog.sealed:
            if of_interest(sealed):
                for whole in self.index(sealed):
                    yield sealed.name(), whole
        for frame in self.frames:
            for whole in sections(frame.pieces):
                yield segment_name(self.active), whole

    # ---- stores and logs --------------------------------------------------------------------

    def store(self, store_id: int) -> dict[bytes, bytes]:
        snapshot = self.catalog.stores[store_id].snapshot
        if snapshot.database:
            raise Refused(f"database-{snapshot.file:016x}.rocksdb", 0, "is RocksDB's")
        content = self.snapshot(store_id, snapshot) if snapshot.file else {}
        covers = snapshot.covers if snapshot.file else 0
        for name, whole in self.sections(
            lambda sealed: store_id in sealed.stores and sealed.last > covers
        ):
            if whole[0].kind != STORE_SECTION or whole[0].id != store_id:
                continue
            if whole[0].sequence <= covers:
                continue
            data = b"".join(self.directory.bytes_of(piece, name) for piece in whole)
            try:
                apply_changes(content, data)
            except Malformed as why:
                raise Refused(name, whole[0].offset, str(why)) from None
        return content

    def snapshot(self, store_id: int, listed: Snapshot) -> dict[bytes, bytes]:
        name = snapshot_name(listed.file)
        self.directory.header(name, SNAPSHOT, listed.file, store_id)
        content = self.directory.content(name)
        at = len(content) - SNAPSHOT_FOOTER.size
        if at < FILE_HEADER.size:
            raise Refused(name, 0, "too short for a footer")
        magic, number, store, covers, entries, blocks, start, length, index_hash, check = (
            SNAPSHOT_FOOTER.unpack_from(content, at)
        )
        if magic != b"PSNAPFTR" or check != hash64(content[at : at + 72]):
            raise Refused(name, at, "the footer is damaged")
        if check != listed.footer:
            raise Refused(name, at, "is another generation than the one listed")
        if (number, store, covers) != (listed.file, store_id, listed.covers):
            raise Refused(name, at, "the footer belongs to another snapshot")
        index = content[start : start + length]
        if start + length != at or hash64(index) != index_hash:
            raise Refused(name, start, "the index is damaged")
        cursor = Cursor(index)
        found: dict[bytes, bytes] = {}
        try:
            for _ in range(blocks):
                offset, size = cursor.number(8), cursor.number(4)
                count, block_hash = cursor.number(4), cursor.number(8)
                first = cursor.text()
                block = content[offset : offset + size]
                self.block(name, listed.file, offset, block, count, block_hash, first, found)
            if cursor.more() or len(found) != entries:
                raise Malformed("the counts of the index are wrong")
        except Malformed as why:
            raise Refused(name, start, str(why)) from None
        return found

    def block(
        self, name: str, number: int, offset: int, block: bytes, count: int, listed_hash: int,
        first: bytes, found: dict[bytes, bytes],
    ) -> None:  # fmt: skip
        if len(block) < BLOCK_HEADER.size:
            raise Refused(name, offset, "a block is too short")
        magic, size, own, file, entries, _, hash_ = BLOCK_HEADER.unpack_from(block)
        if magic != b"PBK1" or (size, own, file, entries) != (len(block), offset, number, count):
            raise Refused(name, offset, "a block is not the one listed")
        if hash_ != listed_hash or hash64(block[40:], hash64(block[:32])) != hash_:
            raise Refused(name, offset, "a block does not have its hash")
        starts = struct.unpack_from(f"<{count}I", block, len(block) - 4 * count)
        cursor = Cursor(block[: len(block) - 4 * count])
        cursor.at = BLOCK_HEADER.size
        for start in starts:
            if start != cursor.at:
                raise Refused(name, offset, "an entry does not start where the block says")
            key_bytes, value_bytes = cursor.number(4), cursor.number(4)
            key = cursor.take(key_bytes)
            if start == BLOCK_HEADER.size and key != first:
                raise Refused(name, offset, "does not begin with the key in the index")
            if found and key <= next(reversed(found)):
                raise Refused(name, offset, "the keys are not in order")
            found[key] = cursor.take(value_bytes)

    def log(self, log_id: int) -> tuple[list[tuple[int, int, bytes]], Refused | None]:
        """Sections of a log in order: offset of the first record, records, bytes; and what ended
        them too early."""
        log = self.catalog.logs[log_id]
        found: list[tuple[int, int, bytes]] = []
        expected = log.start
        try:
            for name, whole in self.sections(
                lambda sealed: log_id in sealed.logs and sealed.logs[log_id].end > log.start
            ):
                first = whole[0]
                if first.kind != LOG_SECTION or first.id != log_id:
                    continue
                if first.base + first.count <= log.start:
                    continue
                if first.base > expected or found and first.base != expected:
                    raise Refused(".", 0, f"no file holds the records from {expected} on")
                data = b"".join(self.directory.bytes_of(piece, name) for piece in whole)
                found.append((first.base, first.count, data))
                expected = first.base + first.count
            if expected != log.end:
                raise Refused(".", 0, f"no file holds the records from {expected} on")
        except Refused as why:
            return found, why
        return found, None


def apply_changes(content: dict[bytes, bytes], data: bytes) -> None:
    cursor = Cursor(data)
    while cursor.more():
        change = cursor.number(1)
        if change == 1:
            key = cursor.text()
            content[key] = cursor.text()
        elif change == 2:
            content.pop(cursor.text(), None)
        elif change == 3:
            content.clear()
        elif change == 4:
            prefix = cursor.text()
            for key in [key for key in content if key.startswith(prefix)]:
                del content[key]
        else:
            raise Malformed(f"there is no change {change} of a store")


# ---- Values ---------------------------------------------------------------------------------


def decoded(data: bytes, depth: int = 1):
    """A stored value as JSON: {type: value}; what JSON has no place for is hexadecimal."""
    if not data or depth > 128:
        raise Malformed("no value" if not data else "nested too deep")
    tag, payload = data[0], data[1:]
    if tag == 1 and not payload:
        return {"null": None}
    if tag == 2 and payload in (b"\0", b"\1"):
        return {"bool": payload == b"\1"}
    if tag == 3 and len(payload) == 8:
        return {"int64": int.from_bytes(payload, "little", signed=True)}
    if tag == 4 and len(payload) == 8:
        return {"double": f"{int.from_bytes(payload, 'little'):016x}"}  # its bits
    if tag == 5:
        return {"string": payload.hex()}
    if tag == 6:
        return {"binary": payload.hex()}
    if tag == 7:
        cursor, items = Cursor(payload), []
        while cursor.more():
            items.append(decoded(cursor.take(cursor.number(4)), depth + 1))
        return {"list": items}
    if tag == 8:
        cursor, members = Cursor(payload), []
        while cursor.more():
            name = cursor.take(cursor.number(4))
            members.append([name.hex(), decoded(cursor.take(cursor.number(4)), depth + 1)])
        if len({name for name, _ in members}) != len(members):
            raise Malformed("a name is twice in its map")
        return {"map": members}
    if tag == 9 and depth == 1:
        cursor = Cursor(payload)
        if cursor.number(1) == 1:
            name = cursor.take(cursor.number(2))
            return {"struct": [name.hex(), payload[cursor.at :].hex()]}
    raise Malformed(f"no valid value has tag {tag} and {len(payload)} bytes")


def stored_value(data: bytes):
    """What a store keeps: a value, or one that expires or is compressed."""
    if data[:1] == b"\x0a":
        if len(data) < 10 or data[9] == 10:
            raise Malformed("nothing that expires")
        expires = int.from_bytes(data[1:9], "little", signed=True)
        return {"expires": expires, "value": stored_value(data[9:])}
    if data[:1] == b"\x0b":
        length = int.from_bytes(data[2:6], "little")
        frame = data[6:]
        try:
            if data[1] != 1 or zstandard.frame_content_size(frame) != length:
                raise Malformed("no compressed value")
            return decoded(zstandard.ZstdDecompressor().decompress(frame))
        except zstandard.ZstdError as why:
            raise Malformed(str(why)) from None
    return decoded(data)


def value_json(data: bytes, values: bool):
    if not values:
        return data.hex()
    try:
        return stored_value(data)
    except Malformed as why:
        return {"TypeMismatch": str(why)}


# ---- The program ----------------------------------------------------------------------------


def plain(name: bytes) -> str:
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in name
    )


def read(path: Path, values: bool = False) -> dict:
    try:
        journal = Journal(path)
    except Refused as why:
        return {"verdict": why.json()}
    result = {"verdict": journal.verdict}
    if (catalog := journal.catalog) is None:
        return result
    result["journal"] = journal.directory.journal[::-1].hex()
    result["claims"] = {plain(name): number for name, number in catalog.claims.items()}
    result["epochs"] = [[f"{epoch:016x}", sequence] for epoch, sequence in catalog.epochs]
    result["stores"], result["logs"] = {}, {}
    for store_id, store in catalog.stores.items():
        told: dict = {"id": store_id}
        result["stores"][plain(store.name)] = told
        try:
            entries = sorted(journal.store(store_id).items())
            told["entries"] = [[key.hex(), value_json(value, values)] for key, value in entries]
        except Refused as why:
            told["error"] = why.json()
    for log_id, log in catalog.logs.items():
        found, error = journal.log(log_id)
        told = {
            "id": log_id,
            "start": log.start,
            "end": log.end,
            "maxAgeMs": log.max_age_ms,
            "maxBytes": log.max_bytes,
            "epochs": [
                [f"{epoch:016x}", log.reached(catalog.first_epoch + place)]
                for place, (epoch, _) in enumerate(catalog.epochs)
            ],
            "sections": [[base, count, data.hex()] for base, count, data in found],
        }
        if error is not None:
            told["error"] = error.json()
        result["logs"][plain(log.name)] = told
    return result


def main(arguments: list[str]) -> None:
    values = "--values" in arguments
    paths = [argument for argument in arguments if argument != "--values"]
    if not paths or any(path.startswith("-") for path in paths):
        sys.exit(__doc__)
    for path in paths:
        print(json.dumps(read(Path(path), values), sort_keys=True, separators=(",", ":")))


if __name__ == "__main__":
    main(sys.argv[1:])
