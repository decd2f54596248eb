// SPDX-License-Identifier: Apache-2.0
#include "shared_state_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <unordered_set>
#include <utility>

#include "penstock/state/errors.h"

namespace penstock::state {

namespace {

// The updates whose functions the calling thread is in.
struct RunningUpdate {
  explicit RunningUpdate(const SharedCore* of) : core(of), outer(innermost) { innermost = this; }
  ~RunningUpdate() { innermost = outer; }
  RunningUpdate(const RunningUpdate&) = delete;
  RunningUpdate& operator=(const RunningUpdate&) = delete;

  const SharedCore* core;
  const RunningUpdate* outer;
  static thread_local const RunningUpdate* innermost;
};
thread_local const RunningUpdate* RunningUpdate::innermost = nullptr;

void checkName(std::string_view name) {
  if (!name.empty() && name.size() <= SharedState::nameBytesMax) return;
  throw InvalidArgument(fmt::format("shared state: a name has 1 to {} bytes, this one {}",
                                    SharedState::nameBytesMax, name.size()));
}

std::regex patternOf(const std::string& text) {
  if (text.size() > SharedFilter::patternBytesMax) {
    throw InvalidArgument(fmt::format("shared state: a pattern has up to {} bytes, this one {}",
                                      SharedFilter::patternBytesMax, text.size()));
  }
  // Polynomial: what the library does by default backtracks, for years if the pattern is like that.
  constexpr auto flags =
      std::regex::ECMAScript | std::regex::optimize | std::regex_constants::__polynomial;
  try {
    return std::regex(text, flags);
  } catch (const std::regex_error& error) {
    throw InvalidArgument(
        fmt::format("shared state: {:?} is no regular expression: {}", text, error.what()));
  }
}

}  // namespace

SharedValue valueOf(SharedContentPtr content) noexcept {
  if (!content) return nullptr;
  const Value* value = &content->value;
  return {std::move(content), value};
}

std::function<bool(const SharedContent&)> passes(const SharedFilter& filter) {
  using Names = std::unordered_set<std::string>;
  const auto set = [](const std::vector<std::string>& names) {
    return Names(names.begin(), names.end());
  };
  std::optional<std::regex> pattern;
  if (!filter.pattern.empty()) pattern = patternOf(filter.pattern);
  return [include = set(filter.include), exclude = set(filter.exclude), scopes = set(filter.scopes),
          pattern = std::move(pattern)](const SharedContent& content) {
    const auto has = [](const Names& names, const std::string& name) {
      return names.find(name) != names.end();
    };
    return (include.empty() || has(include, content.name)) && !has(exclude, content.name) &&
           (scopes.empty() || std::any_of(content.scopes.begin(), content.scopes.end(),
                                          [&](const auto& scope) { return has(scopes, scope); })) &&
           (!pattern || std::regex_search(content.name, *pattern));
  };
}

void SharedCore::checkOpen() const {
  if (closed_.load(std::memory_order_relaxed)) throw Closed("shared state: it was closed");
  if (process_.forkedChild()) {
    throw Closed("shared state: it belongs to the process that this one was forked from");
  }
}

void SharedCore::checkMayWrite() const {
  checkOpen();
  for (const RunningUpdate* one = RunningUpdate::innermost; one != nullptr; one = one->outer) {
    if (one->core != this) continue;
    throw InvalidArgument(
        "shared state: the function of an update called what writes, locks or saves; there it may "
        "only read");
  }
}

SharedContentPtr SharedCore::get(std::string_view name) const {
  const Stripe& stripe = stripes_[stripeOf(name)];
  const std::lock_guard guard(stripe.data);
  checkOpen();
  const auto found = stripe.slots.find(name);
  return found == stripe.slots.end() ? nullptr : found->second.content;
}

SharedCore::Written SharedCore::write(std::string_view name, const Make& make) {
  checkMayWrite();
  checkName(name);
  Stripe& stripe = stripes_[stripeOf(name)];
  Written written;
  {
    const std::lock_guard writer(stripe.writers);
    const auto found = stripe.slots.find(name);
    const bool there = found != stripe.slots.end();
    {
      const RunningUpdate running(this);
      written.after = make(there ? found->second.content : written.before);
    }
    const std::lock_guard data(stripe.data);
    checkOpen();
    if (there) written.before = std::move(found->second.content);
    if (there && written.after) {
      found->second.content = written.after;
    } else if (there) {
      stripe.slots.erase(found);
    } else if (written.after) {
      stripe.slots.emplace(name, Slot{nextOrder_++, written.after});
    } else {
      return written;
    }
    changes_.raise();  // under the lock: what a cut has, was told before it
  }
  return written;
}

std::vector<std::unique_lock<std::mutex>> SharedCore::lockAll(std::mutex Stripe::*which) {
  std::vector<std::unique_lock<std::mutex>> locks;
  locks.reserve(stripeCount);
  for (Stripe& stripe : stripes_) locks.emplace_back(stripe.*which);
  return locks;
}

std::vector<SharedContentPtr> SharedCore::cut(const SharedFilter& filter) const {
  const auto pass = passes(filter);
  std::vector<Slot> slots;
  {
    std::vector<std::unique_lock<std::mutex>> locks;
    locks.reserve(stripeCount);
    std::size_t count = 0;
    for (Stripe& stripe : stripes_) {
      locks.emplace_back(stripe.data);
      count += stripe.slots.size();
    }
    slots.reserve(count);
    for (const Stripe& stripe : stripes_) {
      for (const auto& [name, slot] : stripe.slots) slots.push_back(slot);
    }
  }
  std::erase_if(slots, [&](const Slot& slot) { return !pass(*slot.content); });
  std::sort(slots.begin(), slots.end(),
            [](const Slot& left, const Slot& right) { return left.order < right.order; });
  std::vector<SharedContentPtr> contents;
  contents.reserve(slots.size());
  for (Slot& slot : slots) contents.push_back(std::move(slot.content));
  return contents;
}

std::vector<SharedContentPtr> SharedCore::quietCut(const SharedFilter& filter,
                                                   std::chrono::milliseconds atMost) const {
  checkMayWrite();
  std::vector<SharedContentPtr> contents;
  locks_->exclusively(atMost, [&] { contents = cut(filter); });
  return contents;
}

void SharedCore::put(std::vector<SharedContentPtr> contents, bool merge,
                     std::chrono::milliseconds atMost) {
  checkMayWrite();
  std::array<Slots, stripeCount> fresh;
  const std::uint64_t firstOrder = nextOrder_.fetch_add(contents.size());
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const std::string& name = contents[i]->name;
    fresh[stripeOf(name)].emplace(name, Slot{firstOrder + i, contents[i]});
  }
  locks_->exclusively(atMost, [&] {
    const auto writers = lockAll(&Stripe::writers);
    const auto data = lockAll(&Stripe::data);
    checkOpen();
    if (!merge) {
      for (std::size_t i = 0; i < stripeCount; ++i) stripes_[i].slots.swap(fresh[i]);
      return changes_.raise();
    }
    // What may throw comes first, so that all of it is there or nothing.
    for (std::size_t i = 0; i < stripeCount; ++i) {
      stripes_[i].slots.reserve(stripes_[i].slots.size() + fresh[i].size());
    }
    for (std::size_t i = 0; i < stripeCount; ++i) {
      Slots& slots = stripes_[i].slots;
      while (!fresh[i].empty()) {
        auto node = fresh[i].extract(fresh[i].begin());
        const auto found = slots.find(node.key());
        if (found == slots.end()) {
          slots.insert(std::move(node));
        } else {
          found->second.content = std::move(node.mapped().content);
        }
      }
    }
    changes_.raise();
  });
}

void SharedCore::close(std::optional<std::chrono::milliseconds> quietFor) {
  const auto mark = [&] {
    const auto data = lockAll(&Stripe::data);
    closed_ = true;
  };
  if (quietFor) {
    locks_->exclusively(*quietFor, mark);
  } else {
    mark();
  }
}

}  // namespace penstock::state
