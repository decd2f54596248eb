// SPDX-License-Identifier: Apache-2.0
#include <penstock/state/journal.h>

#include <fmt/format.h>

#include <pthread.h>

#include <array>
#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <tuple>

#include "append_lock.h"
#include "io_errors.h"
#include "journal_core.h"

namespace penstock::state {

namespace {

/// The engines of this process, so that openers of one directory share one.
class Engines {
 public:
  using Key = std::tuple<FileSystem*, std::uint64_t, std::uint64_t, std::uint32_t>;

  static Engines& instance() {
    static auto* engines = [] {
      auto made = std::make_unique<Engines>();  // before handlers that cannot be taken away again
      // So that a child that forks off while another thread is in here can open directories.
      if (::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                           [] { instance().mutex_.unlock(); }) != 0) {
        throw std::bad_alloc();
      }
      return made.release();  // outlives static journals
    }();
    return *engines;
  }

  std::shared_ptr<JournalCore> open(const std::string& directory, const JournalOptions& options,
                                    const Environment& environment) {
    const Key key = keyOf(existing(directory, options, environment), environment);
    std::unique_lock lock(mutex_);
    for (;; closed_.wait(lock)) {  // while somebody opens it, or its last handle closes it
      if (opening_.contains(key)) continue;
      const auto at = engines_.find(key);
      if (at == engines_.end()) break;
      if (auto core = at->second.lock()) {
        lock.unlock();  // this may be the last handle by now, and closing it takes the mutex
        if (core->options().sharing != options.sharing) {
          throw ConfigurationError(directory +
                                   ": is open in this process with another sharing mode; open it "
                                   "with the same one everywhere, or give each a directory");
        }
        return core;
      }
    }
    // Not under the mutex: a long recovery holds up nobody who opens another directory.
    opening_.insert(key);
    lock.unlock();
    struct Opened {  // whatever comes of it, the next one may try
      Engines& engines;
      const Key& key;
      std::shared_ptr<JournalCore> core;
      ~Opened() {
        {
          const std::lock_guard guard(engines.mutex_);
          engines.opening_.erase(key);
        }
        engines.closed_.notify_all();
      }
    } opened{*this, key, nullptr};
    auto fresh = std::make_unique<JournalCore>(directory, options, environment);
    fresh->open();
    fresh->startThread();
    opened.core.reset(fresh.release(), [](JournalCore* closing) { retire(closing); });
    const std::lock_guard guard(mutex_);
    engines_[key] = opened.core;
    return opened.core;
  }

 private:
  /// The directory, made when it may be. Also where it is there already: whoever made it may have
  /// been killed before its name was on disk, and all that is acknowledged in it would go with it.
  static FileInfo existing(const std::string& directory, const JournalOptions& options,
                           const Environment& environment) {
    if (options.createDirectory) {
      const auto made = environment.files->makeDirectories(directory);
      if (!made.ok() && made.error != ENOTDIR) {  // a file: said below, in words
        throwUnlessOk(made, "creating the state directory", directory);
      }
    }
    const auto info = environment.files->info(directory);
    throwUnlessOk(info, "looking at the state directory", directory);
    if (!info.value.exists) {
      throw IoError(ENOENT,
                    directory +
                        ": no such directory, and creating it was not allowed; correct the name, "
                        "or create it",
                    directory);
    }
    if (!info.value.directory) {
      throw IoError(ENOTDIR, directory + ": is a file; give a directory for the state", directory);
    }
    return info.value;
  }

  static Key keyOf(const FileInfo& info, const Environment& environment) {
    return {environment.files, info.device, info.inode, processGeneration()};
  }

  static void retire(JournalCore* core) {
    // In a forked child all of it is the parent's: its threads, which wait on its conditions, and
    // what is on disk. Nothing of it can be ended here.
    if (core->forked()) return;
    if (core->onOwnThread()) {  // of a callback, which had the last handle: it cannot await itself
      std::thread([core] { retire(core); }).detach();
      return;
    }
    core->close();
    Engines& self = instance();
    delete core;
    const std::lock_guard lock(self.mutex_);
    std::erase_if(self.engines_, [](const auto& item) { return item.second.expired(); });
    self.closed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable closed_;
  std::set<Key> opening_;
  std::map<Key, std::weak_ptr<JournalCore>> engines_;
};

}  // namespace

struct StoreCursor::Impl {
  ImageCursor at;
};

StoreCursor::StoreCursor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StoreCursor::StoreCursor(StoreCursor&&) noexcept = default;
StoreCursor& StoreCursor::operator=(StoreCursor&&) noexcept = default;
StoreCursor::~StoreCursor() = default;
bool StoreCursor::valid() const noexcept { return impl_->at.valid(); }
std::string_view StoreCursor::key() const noexcept { return impl_->at.key(); }
std::string_view StoreCursor::value() const noexcept { return impl_->at.value(); }
void StoreCursor::next() { impl_->at.next(); }

/// A store that does not change any more. Keeps its engine open.
class StoreView final : public Store, public std::enable_shared_from_this<StoreView> {
 public:
  StoreView(std::shared_ptr<JournalCore> core, const StoreState& state, StoreImage image)
      : core_(std::move(core)), id_(state.id()), name_(state.name()), image_(std::move(image)) {}

  static StoreCursor cursorOf(StoreImage image, std::string_view from) {
    auto impl =
        std::make_unique<StoreCursor::Impl>(StoreCursor::Impl{ImageCursor(std::move(image), from)});
    return StoreCursor(std::move(impl));
  }

  [[nodiscard]] StoreId id() const noexcept override { return id_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  bool get(std::string_view key, std::string& value) const override {
    return getFirst(key, std::string::npos, value);
  }
  bool getFirst(std::string_view key, std::size_t bytesMax, std::string& value) const override {
    std::string_view found;
    if (image_.find(key, hash64(key), value, found) != PackedMap::Found::Value) return false;
    value.assign(found.substr(0, bytesMax));
    return true;
  }
  [[nodiscard]] bool contains(std::string_view key) const override {
    std::string_view found;
    std::string scratch;
    return image_.find(key, hash64(key), scratch, found) == PackedMap::Found::Value;
  }
  [[nodiscard]] std::uint64_t size() const override {
    const std::lock_guard lock(mutex_);
    if (!size_) size_ = image_.count();
    return *size_;
  }
  [[nodiscard]] std::shared_ptr<const Store> view() const override { return shared_from_this(); }
  [[nodiscard]] StoreCursor cursor(std::string_view from) const override {
    return cursorOf(image_, from);
  }

 private:
  std::shared_ptr<JournalCore> core_;
  const StoreId id_;
  const std::string name_;
  const StoreImage image_;
  mutable std::mutex mutex_;
  mutable std::optional<std::uint64_t> size_;
};

namespace {

/// A store handle: keeps its engine open, and sees what other processes wrote.
class StoreHandle : public Store {
 public:
  StoreHandle(std::shared_ptr<JournalCore> core, std::shared_ptr<StoreState> state)
      : core_(std::move(core)), state_(std::move(state)) {}

  [[nodiscard]] StoreId id() const noexcept override { return state_->id(); }
  [[nodiscard]] const std::string& name() const noexcept override { return state_->name(); }
  bool get(std::string_view key, std::string& value) const override {
    refresh();
    return state_->get(key, value);
  }
  bool getFirst(std::string_view key, std::size_t bytesMax, std::string& value) const override {
    refresh();
    return state_->get(key, value, bytesMax);
  }
  [[nodiscard]] bool contains(std::string_view key) const override {
    refresh();
    return state_->contains(key);
  }
  [[nodiscard]] std::uint64_t size() const override {
    refresh();
    return state_->size();
  }
  [[nodiscard]] std::shared_ptr<const Store> view() const override {
    refresh();
    return std::make_shared<StoreView>(core_, *state_, state_->image());
  }
  [[nodiscard]] StoreCursor cursor(std::string_view from) const override {
    refresh();
    return StoreView::cursorOf(state_->image(), from);
  }

 private:
  void refresh() const {
    core_->checkUsable();
    core_->takeInOthers();
  }
  std::shared_ptr<JournalCore> core_;
  std::shared_ptr<StoreState> state_;
};

/// Holds the flock of the claim's file.
class FileClaim : public Claim {
 public:
  FileClaim(std::shared_ptr<JournalCore> core, std::unique_ptr<File> file, std::string name,
            std::uint64_t incarnation)
      : core_(std::move(core)),
        file_(std::move(file)),
        name_(std::move(name)),
        incarnation_(incarnation) {}
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] std::uint64_t incarnation() const noexcept override { return incarnation_; }

 private:
  std::shared_ptr<JournalCore> core_;
  std::unique_ptr<File> file_;
  std::string name_;
  std::uint64_t incarnation_;
};

}  // namespace

void Store::scan(
    std::string_view from, std::string_view to,
    const std::function<bool(std::string_view key, std::string_view value)>& visit) const {
  for (StoreCursor at = cursor(from); at.valid(); at.next()) {
    if (!to.empty() && at.key() >= to) return;
    if (!visit(at.key(), at.value())) return;
  }
}

void Store::scanPrefix(
    std::string_view prefix,
    const std::function<bool(std::string_view key, std::string_view value)>& visit) const {
  std::string to(prefix);  // the first key behind all that begin with it
  while (!to.empty() && static_cast<unsigned char>(to.back()) == 0xff) to.pop_back();
  if (!to.empty()) to.back() = static_cast<char>(static_cast<unsigned char>(to.back()) + 1);
  scan(prefix, to, visit);
}

std::shared_ptr<Journal> Journal::open(const std::string& directory, const JournalOptions& options,
                                       const Environment& environment) {
  if (directory.empty()) throw ConfigurationError("the state directory's name is empty");
  // Files are opened by name for as long as it is open, whatever becomes of the working directory.
  const std::string absolute = boost::filesystem::absolute(directory).lexically_normal().string();
  return std::shared_ptr<Journal>(
      new Journal(Engines::instance().open(absolute, options, environment)));
}

Journal::Journal(std::shared_ptr<JournalCore> core) : core_(std::move(core)) {}
Journal::~Journal() = default;

bool Journal::sameAs(const Journal& other) const noexcept { return core_ == other.core_; }
const std::string& Journal::directory() const noexcept { return core_->directory(); }
const std::string& Journal::id() const noexcept { return core_->idText(); }
Sharing Journal::sharing() const noexcept { return core_->options().sharing; }

StoreId Journal::declareStore(std::string_view name, std::optional<Engine> engine) {
  if (!engine) {
    if (const auto found = findStore(name)) return *found;
  }
  (void)core_->changeCatalog([&] { return core_->declareStoreChange(name, engine); },
                             Durability::Buffered);
  return findStore(name).value();
}

std::optional<StoreId> Journal::findStore(std::string_view name) {
  return core_->withCatalog([&](const Catalog& catalog) -> std::optional<StoreId> {
    const auto id = catalog.storeByName(name);
    return id ? std::optional(StoreId{*id}) : std::nullopt;
  });
}

std::vector<StoreInfo> Journal::stores() {
  return core_->withCatalog([](const Catalog& catalog) {
    std::vector<StoreInfo> all;
    for (const auto& [id, entry] : catalog.stores) all.push_back({entry.name, StoreId{id}});
    return all;
  });
}

void Journal::removeStore(StoreId id) { core_->removeStore(id); }

std::shared_ptr<Store> Journal::store(StoreId id) {
  return std::make_shared<StoreHandle>(core_, core_->openStore(id));
}

std::vector<std::shared_ptr<const Store>> Journal::views(std::span<const StoreId> ids) {
  std::vector<std::shared_ptr<StoreState>> states;
  for (const StoreId id : ids) states.push_back(core_->openStore(id));
  std::vector<StoreImage> images = core_->images(states);
  std::vector<std::shared_ptr<const Store>> views;
  for (std::size_t i = 0; i < states.size(); ++i) {
    views.push_back(std::make_shared<StoreView>(core_, *states[i], std::move(images[i])));
  }
  return views;
}

LogId Journal::declareLog(std::string_view name, const LogRetention& retention) {
  if (const auto found = findLog(name)) return *found;
  (void)core_->changeCatalog([&] { return core_->declareLogChange(name, retention); },
                             Durability::Buffered);
  return findLog(name).value();
}

std::optional<LogId> Journal::findLog(std::string_view name) {
  return core_->withCatalog([&](const Catalog& catalog) -> std::optional<LogId> {
    const auto id = catalog.logByName(name);
    return id ? std::optional(LogId{*id}) : std::nullopt;
  });
}

std::vector<LogInfo> Journal::logs() {
  const auto ids = core_->withCatalog([](const Catalog& catalog) {
    std::vector<LogId> all;
    for (const auto& [id, entry] : catalog.logs) all.push_back(LogId{id});
    return all;
  });
  std::vector<LogInfo> infos;
  for (const LogId id : ids) infos.push_back(core_->logInfo(id));
  return infos;
}

LogInfo Journal::log(LogId id) { return core_->logInfo(id); }

void Journal::setRetention(LogId id, const LogRetention& retention) {
  (void)core_->changeCatalog(
      [&] {
        std::string changes;
        Catalog::setRetention(changes, id.value, retention);
        return changes;
      },
      Durability::Buffered);
}

void Journal::removeLog(LogId id) {
  (void)core_->changeCatalog(
      [&] {
        std::string changes;
        Catalog::removeLog(changes, id.value);
        return changes;
      },
      Durability::Buffered);
}

void Journal::trimLog(LogId id, std::uint64_t offset) {
  (void)core_->changeCatalog(
      [&] {
        std::string changes;
        Catalog::trimLog(changes, id.value, offset);
        return changes;
      },
      Durability::Buffered);
}

std::optional<std::uint64_t> Journal::offsetForTime(LogId id, std::int64_t timestampMs) {
  return core_->offsetForTime(id, timestampMs);
}

LogPosition Journal::position(LogId, std::uint64_t offset) {
  return core_->withCatalog([&](const Catalog& catalog) {
    return LogPosition{catalog.epoch(), offset};
  });
}

void Journal::checkPosition(LogId id, const LogPosition& position) {
  core_->withCatalog([&](const Catalog& catalog) {
    const auto at = catalog.logs.find(id.value);
    if (at == catalog.logs.end()) {
      throw PositionOutOfRange(
          fmt::format("{}: log {} is not there any more", directory(), id.value));
    }
    const LogEntry& log = at->second;
    std::uint64_t index = std::numeric_limits<std::uint64_t>::max();
    for (std::size_t i = 0; i < catalog.epochs.size(); ++i) {
      if (catalog.epochs[i].id == position.epoch) index = catalog.firstEpochIndex + i;
    }
    std::uint64_t reached = log.end;
    for (const EpochStart& start : log.history) {
      if (start.epoch > index) {
        reached = start.start;
        break;
      }
    }
    if (index == std::numeric_limits<std::uint64_t>::max() || position.offset > reached ||
        position.offset < log.start) {
      throw PositionOutOfRange(fmt::format(
          "{}: position {} of '{}' (epoch {:016x}) is not one this journal had: {}. The directory "
          "was recovered, restored or made anew since; decide from where to go on",
          directory(), position.offset, log.name, position.epoch,
          index == std::numeric_limits<std::uint64_t>::max()
              ? std::string("the epoch is unknown")
              : fmt::format("in that epoch it held [{}, {})", log.start, reached)));
    }
  });
}

CommitResult Journal::commit(Commit& commit, Durability durability) {
  if (commit.empty()) {
    core_->checkUsable();
    return {written(), {}};
  }
  return core_->commit(commit, durability);
}

CommitResult Journal::transact(const std::function<void(Commit&)>& fill, Durability durability) {
  return core_->transact(fill, durability);
}

std::future<CommitResult> Journal::commitAsync(Commit commit, Durability durability) {
  auto promise = std::make_shared<std::promise<CommitResult>>();
  auto future = promise->get_future();
  core_->commitAsync(std::move(commit), durability,
                     [promise](CommitResult&& result, std::exception_ptr error) {
                       if (error) {
                         promise->set_exception(error);
                       } else {
                         promise->set_value(std::move(result));  // a copy could fail
                       }
                     });
  return future;
}

void Journal::commitAsync(Commit commit, Durability durability,
                          std::function<void(const CommitResult&, std::exception_ptr)> done) {
  core_->commitAsync(std::move(commit), durability, std::move(done));
}

void Journal::flush() { core_->flush(); }
Sequence Journal::written() { return Sequence{core_->written()}; }
Sequence Journal::synced() { return Sequence{core_->synced()}; }

void Journal::waitForWritten(Sequence seen, std::chrono::milliseconds timeout) {
  core_->waitForWritten(seen.value, timeout);
}
void Journal::waitForSynced(Sequence seen, std::chrono::milliseconds timeout) {
  core_->waitForSynced(seen.value, timeout);
}
void Journal::interruptWaits() { core_->interruptWaits(); }

std::unique_ptr<Claim> Journal::tryClaim(std::string_view name, std::string* holder) {
  std::uint64_t incarnation = 0;
  auto file = core_->lockClaim(name, holder, incarnation);
  if (!file) return nullptr;
  return std::make_unique<FileClaim>(core_, std::move(file), std::string(name), incarnation);
}

void Journal::leaveOut(StoreId id, std::function<bool(std::string_view value)> isGone) {
  core_->openStore(id)->leaveOut(std::move(isGone));
}

void Journal::snapshotStore(StoreId id) { core_->snapshotStore(id); }
std::uint64_t Journal::clean() { return core_->clean(); }
JournalMetrics Journal::metrics() { return core_->metrics(); }

const std::vector<std::string>& Journal::warnings() const noexcept { return core_->warnings(); }
void Journal::testingTick() { core_->tick(); }

}  // namespace penstock::state
