// SPDX-License-Identifier: Apache-2.0
#include "penstock/detail/store_base.h"

#include <fmt/format.h>

#include <utility>

#include "penstock/detail/hot_store.h"
#include "penstock/error.h"
#include "streams/printable.h"
#include "streams/task_store.h"

namespace penstock::detail {

StoreBase::StoreBase() = default;
StoreBase::~StoreBase() = default;

void StoreBase::attach(std::string name, std::shared_ptr<streams::TaskStore> durable) {
  name_ = std::move(name);
  durable_ = std::move(durable);
}

bool StoreBase::load(std::string_view key, std::string& value) const {
  return durable_->get(key, value);
}

std::uint64_t StoreBase::durableSize() const { return durable_->size(); }

void StoreBase::scan(const std::function<bool(std::string_view, std::string_view)>& visit) const {
  durable_->scan({}, {}, visit);
}

void StoreBase::put(std::string_view key, std::string_view value, EventTime time) {
  durable_->put(key, value, time);
}

void StoreBase::erase(std::string_view key, EventTime time) { durable_->erase(key, time); }

void throwUndecodable(const std::string& store, std::string_view key, const std::string& reason) {
  throw Error(ErrorCode::RestoreState,
              fmt::format("store {}, key {}: what is stored is not of the type that the program "
                          "reads: {}",
                          store, streams::printable(key), reason));
}

void throwKeySize(const std::string& store, std::size_t bytes) {
  throw SerdeError(
      fmt::format("store {}: a key of {} bytes; it takes keys of up to 65,535", store, bytes));
}

}  // namespace penstock::detail
