// SPDX-License-Identifier: Apache-2.0
#include "penstock/state/shared_state.h"

#include <utility>

#include "shared_state_core.h"

namespace penstock::state {

namespace {

SharedEntry entryOf(SharedContentPtr content) {
  SharedEntry entry{content->name, nullptr, content->scopes};
  entry.value = valueOf(std::move(content));
  return entry;
}

SharedContentPtr contentOf(std::string_view name, Value value, std::vector<std::string> scopes) {
  return std::make_shared<const SharedContent>(
      SharedContent{std::string(name), std::move(value), std::move(scopes)});
}

std::vector<std::string> scopesOf(const SharedContentPtr& content) {
  return content ? content->scopes : std::vector<std::string>();
}

}  // namespace

struct SharedState::Impl {
  Impl(const SharedStateOptions& given, const Environment& with)
      : options(given), environment(with) {}

  const SharedStateOptions options;
  const Environment environment;
  SharedCore core;
};

SharedState::SharedState(const SharedStateOptions& options, const Environment& environment)
    : impl_(std::make_unique<Impl>(options, environment)) {}

SharedState::~SharedState() {
  if (impl_->core.forkedChild()) {
    // All of it is the parent's: its threads, and mutexes that these may have held.
    static_cast<void>(impl_.release());
    return;
  }
  try {
    close();
  } catch (const std::exception&) {  // only close itself reports it
  }
}

void SharedState::set(std::string_view name, Value value, std::vector<std::string> scopes) {
  const auto content = contentOf(name, std::move(value), std::move(scopes));
  impl_->core.write(name, [&](const SharedContentPtr&) { return content; });
}

SharedValue SharedState::get(std::string_view name) const { return valueOf(impl_->core.get(name)); }

Value SharedState::getOr(std::string_view name, Value fallback) const {
  const SharedValue value = get(name);
  return value ? *value : std::move(fallback);
}

std::optional<SharedEntry> SharedState::entry(std::string_view name) const {
  SharedContentPtr content = impl_->core.get(name);
  if (!content) return std::nullopt;
  return entryOf(std::move(content));
}

bool SharedState::contains(std::string_view name) const { return impl_->core.get(name) != nullptr; }

SharedValue SharedState::remove(std::string_view name) {
  return valueOf(impl_->core.write(name, [](const SharedContentPtr&) { return nullptr; }).before);
}

SharedUpdate SharedState::update(std::string_view name, const Change& change) {
  auto written = impl_->core.write(name, [&](const SharedContentPtr& found) {
    std::optional<Value> value;
    if (found) value = found->value;
    return contentOf(name, change(std::move(value)), scopesOf(found));
  });
  return {valueOf(std::move(written.before)), valueOf(std::move(written.after))};
}

SharedState::Item& SharedState::Item::operator=(Value value) {
  state_.impl_->core.write(name_, [&](const SharedContentPtr& found) {
    return contentOf(name_, std::move(value), scopesOf(found));
  });
  return *this;
}

SharedState::Item::operator Value() const { return state_.getOr(name_, nullptr); }

std::vector<std::string> SharedState::names(const SharedFilter& filter) const {
  std::vector<std::string> names;
  for (const SharedContentPtr& content : impl_->core.cut(filter)) names.push_back(content->name);
  return names;
}

std::vector<SharedEntry> SharedState::snapshot(const SharedFilter& filter,
                                               std::chrono::milliseconds atMost) const {
  std::vector<SharedEntry> entries;
  for (SharedContentPtr& content : impl_->core.quietCut(filter, atMost)) {
    entries.push_back(entryOf(std::move(content)));
  }
  return entries;
}

void SharedState::createLock(std::string_view name) {
  impl_->core.checkMayWrite();
  impl_->core.locks().create(name, false);
}

void SharedState::findOrCreateLock(std::string_view name) {
  impl_->core.checkMayWrite();
  impl_->core.locks().create(name, true);
}

SharedGuard SharedState::lock(std::string_view name, std::chrono::milliseconds atMost) {
  impl_->core.checkMayWrite();
  return SharedGuard(impl_->core.locks().acquire(name, atMost));
}

void SharedState::close() { impl_->core.close(); }

}  // namespace penstock::state
