// SPDX-License-Identifier: Apache-2.0

// Values in one store of a journal that any number of processes share; docs/formats/datastore.md.
// Locks of keys are bytes of the file KEYS in the journal's directory.
#include <fmt/format.h>
#include <penstock/state/journal.h>

#include <cstring>
#include <utility>

#include "datastore/adapter.h"
#include "storage_path.h"

namespace penstock::state::datastore {

namespace {

/// In front of the value; a u64 each.
struct StoredRevision {
  std::uint64_t created;
  std::uint64_t changes;
};
static_assert(sizeof(StoredRevision) == 16);

std::shared_ptr<Journal> openJournal(const std::string& directory, const Environment& environment) {
  JournalOptions options;
  options.sharing = Sharing::Shared;
  return Journal::open(directory, options, environment);
}

class FileAdapter final : public Adapter {
 public:
  FileAdapter(const std::string& directory, const Environment& environment)
      : journal_(openJournal(directory, environment)),
        store_(journal_->store(journal_->declareStore("datastore"))),
        locks_(journal_->directory() + "/KEYS", *environment.files) {}

  std::optional<Row> read(const std::string& key) override {
    std::string bytes;
    if (!store_->get(key, bytes)) return std::nullopt;
    StoredRevision revision{};
    if (bytes.size() < sizeof(revision)) {
      throw Corruption(journal_->directory(), 0,
                       fmt::format("{}: what is stored under key {} is no value of a Datastore",
                                   journal_->directory(), shownKey(key)));
    }
    std::memcpy(&revision, bytes.data(), sizeof(revision));
    return Row{{revision.created, revision.changes}, bytes.substr(sizeof(revision))};
  }

  std::unique_ptr<Session> lock(const std::string& key, Deadline deadline) override {
    return std::make_unique<KeySession>(*this, key, locks_.acquire(key, deadline));
  }

  std::vector<std::string> list(const std::string& prefix) override {
    std::vector<std::string> keys;
    store_->scanPrefix(prefix, [&](std::string_view key, std::string_view) {
      keys.emplace_back(key);
      return true;
    });
    return keys;
  }

  std::unique_ptr<Watch> watch() override { return std::make_unique<JournalWatch>(*journal_); }

 private:
  class KeySession final : public Session {
   public:
    KeySession(FileAdapter& adapter, std::string key, KeyLocks::Hold hold)
        : adapter_(adapter), key_(std::move(key)), hold_(std::move(hold)) {}
    std::optional<Row> read() override { return adapter_.read(key_); }
    void write(const Row& row) override {
      const StoredRevision revision{row.revision.created, row.revision.changes};
      std::string bytes(reinterpret_cast<const char*>(&revision), sizeof(revision));
      bytes += row.bytes;
      Commit commit;
      commit.put(adapter_.store_->id(), key_, bytes);
      adapter_.journal_->commit(commit);
    }
    void erase() override {
      Commit commit;
      commit.erase(adapter_.store_->id(), key_);
      adapter_.journal_->commit(commit);
    }

   private:
    FileAdapter& adapter_;
    const std::string key_;
    const KeyLocks::Hold hold_;
  };

  class JournalWatch final : public Watch {
   public:
    explicit JournalWatch(Journal& journal) : journal_(journal), seen_(journal.written()) {}
    void wait(Deadline deadline) override {
      const auto left = deadline - std::chrono::steady_clock::now();
      journal_.waitForWritten(seen_, std::chrono::ceil<std::chrono::milliseconds>(left));
      seen_ = journal_.written();
    }

   private:
    Journal& journal_;
    Sequence seen_;
  };

  const std::shared_ptr<Journal> journal_;
  const std::shared_ptr<Store> store_;
  KeyLocks locks_;
};

}  // namespace

std::unique_ptr<Adapter> openFile(const std::string& directory, const Environment& environment) {
  return std::make_unique<FileAdapter>(directory, environment);
}

}  // namespace penstock::state::datastore
