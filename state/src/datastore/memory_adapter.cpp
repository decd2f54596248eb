// SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#include "datastore/adapter.h"

namespace penstock::state::datastore {

namespace {

class MemoryAdapter final : public Adapter {
 public:
  std::optional<Row> read(const std::string& key) override {
    const std::lock_guard guard(mutex_);
    const auto at = rows_.find(key);
    return at == rows_.end() ? std::nullopt : std::optional(at->second);
  }

  std::unique_ptr<Session> lock(const std::string& key, Deadline deadline) override {
    return std::make_unique<KeySession>(*this, key, locks_.acquire(key, deadline));
  }

  std::vector<std::string> list(const std::string& prefix) override {
    const std::lock_guard guard(mutex_);
    std::vector<std::string> keys;
    for (auto at = rows_.lower_bound(prefix);
         at != rows_.end() && std::string_view(at->first).starts_with(prefix); ++at) {
      keys.push_back(at->first);
    }
    return keys;
  }

  std::unique_ptr<Watch> watch() override { return std::make_unique<ChangeWatch>(*this); }

 private:
  class KeySession final : public Session {
   public:
    KeySession(MemoryAdapter& adapter, std::string key, KeyLocks::Hold hold)
        : adapter_(adapter), key_(std::move(key)), hold_(std::move(hold)) {}
    std::optional<Row> read() override { return adapter_.read(key_); }
    void write(const Row& row) override {
      adapter_.change([&] { adapter_.rows_[key_] = row; });
    }
    void erase() override {
      adapter_.change([&] { adapter_.rows_.erase(key_); });
    }

   private:
    MemoryAdapter& adapter_;
    const std::string key_;
    const KeyLocks::Hold hold_;
  };

  class ChangeWatch final : public Watch {
   public:
    explicit ChangeWatch(MemoryAdapter& adapter) : adapter_(adapter) {
      const std::lock_guard guard(adapter_.mutex_);
      seen_ = adapter_.changes_;
    }
    void wait(Deadline deadline) override {
      std::unique_lock guard(adapter_.mutex_);
      adapter_.changed_.wait_until(guard, deadline, [&] { return adapter_.changes_ != seen_; });
      seen_ = adapter_.changes_;
    }

   private:
    MemoryAdapter& adapter_;
    std::uint64_t seen_ = 0;
  };

  template <typename Change>
  void change(Change&& make) {
    {
      const std::lock_guard guard(mutex_);
      make();
      ++changes_;
    }
    changed_.notify_all();
  }

  KeyLocks locks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t changes_ = 0;
  std::map<std::string, Row, std::less<>> rows_;
};

}  // namespace

std::unique_ptr<Adapter> openMemory() { return std::make_unique<MemoryAdapter>(); }

}  // namespace penstock::state::datastore
