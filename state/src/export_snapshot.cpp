// SPDX-License-Identifier: Apache-2.0
// exportSnapshot and importSnapshot, penstock/state/transfer.h; the file is that of export_file.h.
#include "bytes.h"
#include "export_file.h"
#include "io_errors.h"
#include "new_file.h"
#include "penstock/state/transfer.h"
#include "snapshot.h"
#include "storage_path.h"
#include "storage_transfer.h"

namespace penstock::state {

ExportReport exportSnapshot(const LocalFileStorage& storage, const std::string& path,
                            const ExportOptions& options, const Environment& environment) {
  NewFile file(environment, path, options.replace);
  const std::vector<StorageCopy> storages = captureStorages(storage);
  ExportReport report;
  for (const StorageCopy& copy : storages) report.keys += copy.keys;
  ProgressTeller progress(options.progress);
  progress.begin(TransferPhase::Copying, report.keys);
  // Of no journal; its own number ties its blocks together.
  SnapshotWriter writer(file.file(), file.temporary(), JournalId{}, environment.random->next(), 0,
                        0, environment.clock->wallMs(), FileKind::Export);
  std::string name;
  for (const StorageCopy& copy : storages) {
    name = copy.path + '\0';
    const std::size_t keyAt = name.size();
    std::string count;
    putVarint(count, copy.keys);
    writer.add(name, count);
    copy.content->scan({}, {}, [&](std::string_view key, std::string_view value) {
      name.resize(keyAt);
      name += key;
      writer.add(name, value);
      progress.keyDone();
      return true;
    });
    ++report.storages;
  }
  (void)writer.finish();
  file.publish();
  progress.end();
  return report;
}

ImportReport importSnapshot(const std::string& path, LocalFileStorage& into,
                            const ImportOptions& options, const Environment& environment) {
  auto opened = environment.files->open(path, OpenMode::Read);
  throwUnlessOk(opened, "opening", path);
  const ExportFile file(*opened.value, path);
  StorageImporter importer(into,
                           {.overwrite = options.overwrite,
                            .keysDiffer = true,
                            .batchBytes = options.batchBytes},
                           options.progress);
  file.visit({.storage = [&](const std::string& at) { importer.expectStorage(at); },
              .entry =
                  [&](const std::string& at, std::string_view key, std::string_view) {
                    if (importer.expect(at, key, 0)) {
                      throw InvalidArgument(path + ": keys differ in the case of A-Z alone, like " +
                                            shownKey(key) +
                                            ", and would become one; import it into a storage "
                                            "without lowerCaseKeys");
                    }
                  }});
  importer.beginCopying();
  file.visit({.storage = [](const std::string&) {},
              .entry = [&](const std::string& at, std::string_view key,
                           std::string_view value) { importer.put(at, key, value); }});
  return importer.finish();
}

}  // namespace penstock::state
