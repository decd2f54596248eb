// SPDX-License-Identifier: Apache-2.0
// exportJsonLines and importJsonLines, penstock/state/transfer.h; the lines are json_line.h's.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <istream>
#include <ostream>

#include "bytes.h"
#include "frame.h"
#include "io_errors.h"
#include "json_line.h"
#include "new_file.h"
#include "penstock/state/transfer.h"
#include "storage_path.h"
#include "storage_space.h"
#include "storage_transfer.h"

namespace penstock::state {

namespace {

constexpr std::size_t readBytes = std::size_t{1} << 18;  // arbitrary

using Sink = std::function<void(std::string_view)>;
using Source = std::function<std::size_t(std::span<char>)>;  // 0: the end

ExportReport writeLines(const LocalFileStorage& storage, const Sink& sink,
                        const ExportOptions& options) {
  const std::vector<StorageCopy> storages = captureStorages(storage);
  ExportReport report;
  for (const StorageCopy& copy : storages) report.keys += copy.keys;
  ProgressTeller progress(options.progress);
  progress.begin(TransferPhase::Copying, report.keys);
  const auto write = [&](std::string text) {
    text += '\n';
    sink(text);
  };
  write(firstJsonLine());
  for (const StorageCopy& copy : storages) {
    if (copy.keys == 0 && !copy.path.empty()) write(formatJsonLine({copy.path, {}, {}}));
    copy.content->scan({}, {}, [&](std::string_view key, std::string_view stored) {
      write(formatJsonLine({copy.path, std::string(key), std::string(stored)}));
      progress.keyDone();
      return true;
    });
    ++report.storages;
  }
  write(lastJsonLine(report.keys));
  progress.end();
  return report;
}

/// Cuts a source into lines.
class LineReader {
 public:
  LineReader(Source source, std::string name)
      : source_(std::move(source)), name_(std::move(name)) {}

  /// False at the end. The last line may lack its '\n'.
  bool next(std::string& line) {
    line.clear();
    for (;;) {
      const std::size_t end = buffer_.find('\n', at_);
      line.append(buffer_, at_, end == std::string::npos ? end : end - at_);
      at_ = end == std::string::npos ? buffer_.size() : end + 1;
      if (line.size() > jsonLineBytesMax) {
        throw InvalidArgument(fmt::format("{}: line {} is longer than {} bytes", name_, number_ + 1,
                                          jsonLineBytesMax));
      }
      if (end != std::string::npos) break;
      buffer_.resize(readBytes);
      buffer_.resize(source_(buffer_));
      at_ = 0;
      // Chained, so that two readings of a source can be compared.
      hash_ = hash64(buffer_) + 31 * hash_;
      if (!buffer_.empty()) continue;
      if (line.empty()) return false;
      break;
    }
    ++number_;
    return true;
  }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }  // of the last line
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }      // of what was read

 private:
  const Source source_;
  const std::string name_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t hash_ = 0;
};

/// Runs `call` for a line, which its errors then name.
template <typename Call>
void atLine(const std::string& name, std::uint64_t number, Call&& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(fmt::format("{}: line {}: {}", name, number, error.what()));
  } catch (const FormatTooNew& error) {
    throw FormatTooNew(fmt::format("{}: line {}: {}", name, number, error.what()));
  }
}

/// Calls `visit(record, line number)` for each line that is a record. Returns the hash of it all.
template <typename Visit>
std::uint64_t readLines(const Source& source, const std::string& name, const ImportOptions& options,
                        Visit&& visit) {
  LineReader lines(source, name);
  std::string text;
  std::uint64_t keys = 0;
  bool begun = options.incomplete;
  bool ended = false;
  bool any = false;
  while (lines.next(text)) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    JsonLine record;
    std::optional<JsonLineKind> kind;
    atLine(name, lines.number(), [&] {
      if (ended) throw InvalidArgument("it follows the last line of the export");
      std::uint64_t wanted = 0;
      kind = parseJsonLine(text, record, wanted);
      if (kind == JsonLineKind::First ? any : !begun) {
        throw InvalidArgument("the first line of an export, and only that, says what it is: " +
                              firstJsonLine());
      }
      begun = true;
      any = true;
      ended = kind == JsonLineKind::Last;
      if (kind == JsonLineKind::Record && record.key) ++keys;
      if (ended && wanted != keys && !options.incomplete) {
        throw InvalidArgument(
            fmt::format("the export had {} keys, {} are here: lines are missing", wanted, keys));
      }
    });
    if (kind == JsonLineKind::Record) visit(record, lines.number());
  }
  if (!ended && !options.incomplete) {
    throw InvalidArgument(
        fmt::format("{}: line {}: the export ends here, without its last line: it was cut off",
                    name, lines.number() + 1));
  }
  return lines.hash();
}

void expectLine(StorageImporter& importer, const std::string& name, const JsonLine& record,
                std::uint64_t number) {
  atLine(name, number, [&] {
    importer.expectStorage(record.path);
    if (!record.key) return;
    if (const auto before = importer.expect(record.path, *record.key, number)) {
      throw InvalidArgument(fmt::format("the key {} is there already, on line {}",
                                        shownKey(*record.key), *before));
    }
    checkValue(*record.key, record.stored);
  });
}

}  // namespace

ExportReport exportJsonLines(const LocalFileStorage& storage, const std::string& path,
                             const ExportOptions& options, const Environment& environment) {
  NewFile file(environment, path, options.replace);
  const ExportReport report =
      writeLines(storage, [&](std::string_view text) { file.append(text); }, options);
  file.publish();
  return report;
}

ExportReport exportJsonLines(const LocalFileStorage& storage, std::ostream& out,
                             const ExportOptions& options) {
  const auto check = [&] {
    if (!out) throw IoError(EIO, "writing an export: the stream failed");
  };
  const ExportReport report = writeLines(
      storage,
      [&](std::string_view text) {
        out.write(text.data(), static_cast<std::streamsize>(text.size()));
        check();
      },
      options);
  out.flush();
  check();
  return report;
}

ImportReport importJsonLines(const std::string& path, LocalFileStorage& into,
                             const ImportOptions& options, const Environment& environment) {
  auto opened = environment.files->open(path, OpenMode::Read);
  throwUnlessOk(opened, "opening", path);
  const auto source = [&] {
    return [&, offset = std::uint64_t{0}](std::span<char> to) mutable {
      const auto got = opened.value->read(offset, std::as_writable_bytes(to));
      throwUnlessOk(got, "reading", path);
      offset += got.value;
      return got.value;
    };
  };
  StorageImporter importer(into,
                           {.overwrite = options.overwrite, .batchBytes = options.batchBytes},
                           options.progress);
  const std::uint64_t checked =
      readLines(source(), path, options, [&](const JsonLine& record, std::uint64_t number) {
        expectLine(importer, path, record, number);
      });
  importer.beginCopying();
  const std::uint64_t copied =
      readLines(source(), path, options, [&](const JsonLine& record, std::uint64_t) {
        if (record.key) importer.put(record.path, *record.key, record.stored);
      });
  if (copied != checked) {
    throw SourceChanged(path + ": changed while it was imported; import it again");
  }
  return importer.finish();
}

ImportReport importJsonLines(std::istream& in, LocalFileStorage& into,
                             const ImportOptions& options) {
  const std::string name = "the stream";
  const Source source = [&](std::span<char> to) {
    in.read(to.data(), static_cast<std::streamsize>(to.size()));
    if (in.bad()) throw IoError(EIO, "reading an import: the stream failed");
    return static_cast<std::size_t>(in.gcount());
  };
  StorageImporter importer(into,
                           {.overwrite = options.overwrite, .batchBytes = options.batchBytes},
                           options.progress);
  std::vector<JsonLine> records;
  std::uint64_t bytes = 0;
  (void)readLines(source, name, options, [&](JsonLine& record, std::uint64_t number) {
    expectLine(importer, name, record, number);
    bytes += record.stored.size() + (record.key ? record.key->size() : 0);
    atLine(name, number, [&] {
      if (bytes <= options.batchBytes) return;
      throw InvalidArgument(fmt::format(
          "up to here there is more than one batch holds ({} bytes), and a stream can be read but "
          "once; nothing was imported. Import it from a file, or allow for a larger batch",
          options.batchBytes));
    });
    records.push_back(std::move(record));
  });
  importer.beginCopying();
  for (const JsonLine& record : records) {
    if (record.key) importer.put(record.path, *record.key, record.stored);
  }
  return importer.finish();
}

}  // namespace penstock::state
