// SPDX-License-Identifier: Apache-2.0
#include "penstock/state/shared_state.h"

#include <fmt/format.h>

#include <mutex>
#include <unordered_map>
#include <utility>

#include "pode_file.h"
#include "shared_autosave.h"
#include "shared_state_core.h"
#include "shared_state_file.h"
#include "shared_state_save.h"

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

// What is left of the time to wait.
std::chrono::milliseconds leftUntil(std::chrono::steady_clock::time_point until) {
  return std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
}

// Those of the file, as far as they are not ours, in its order; then those that are only ours.
std::vector<SharedContentPtr> merged(std::vector<SharedContentPtr> file,
                                     std::vector<SharedContentPtr> ours) {
  std::unordered_map<std::string_view, std::size_t> places;
  for (std::size_t i = 0; i < file.size(); ++i) places.emplace(file[i]->name, i);
  for (SharedContentPtr& content : ours) {
    const auto found = places.find(content->name);
    if (found == places.end()) {
      file.push_back(std::move(content));
    } else {
      file[found->second].swap(content);  // the name of the old one is still looked up by
    }
  }
  return file;
}

}  // namespace

struct SharedState::Impl {
  Impl(const SharedStateOptions& given, const Environment& with)
      : options(given), environment(with) {}

  using Cut = std::function<std::vector<SharedContentPtr>(const SharedFilter& filter,
                                                          std::chrono::milliseconds atMost)>;
  Cut quietCut() {
    return [this](const SharedFilter& filter, std::chrono::milliseconds atMost) {
      return core.quietCut(filter, atMost);
    };
  }
  void save(const std::string& path, const SharedSaveOptions& how, const Cut& cut);
  void close();

  const SharedStateOptions options;
  const Environment environment;
  SharedCore core;
  std::mutex closing;  // one close, or call of autosave, after the other
  std::mutex mutex;    // guards the pointer
  std::shared_ptr<SharedAutosave> autosave;

  std::shared_ptr<SharedAutosave> currentAutosave() {
    const std::lock_guard guard(mutex);
    return autosave;
  }
};

void SharedState::Impl::save(const std::string& path, const SharedSaveOptions& how,
                             const Cut& cut) {
  const SharedFilter filter{how.include, how.exclude, how.scopes, {}};
  const std::string file = fileAt(*environment.files, path);
  const auto make = [&](const std::optional<std::string>& before,
                        std::chrono::steady_clock::time_point until) {
    auto contents = cut(filter, leftUntil(until));
    if (how.merge && before) {
      contents = merged(
          parseSharedFile(*before, path, options.application, previousOf(*environment.files, file)),
          std::move(contents));
    }
    return formatSharedFile(contents, options.application, environment.clock->wallMs(),
                            how.compress);
  };
  replaceFile(core.locks(), environment, file, how.atMost, how.merge, make);
}

void SharedState::Impl::close() {
  if (core.closed()) return;
  core.checkMayWrite();
  const std::lock_guard guard(closing);
  if (core.closed()) return;
  const auto last = currentAutosave();
  if (last) last->stop();
  if (last && last->options().atShutdown) {
    const auto begin = std::chrono::steady_clock::now();
    SharedSaveOptions how = last->options().save;
    core.close(how.atMost);
    how.atMost -=
        std::chrono::floor<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    try {
      last->saveNow([&] {
        save(last->options().path, how,
             [this](const SharedFilter& filter, auto) { return core.cut(filter); });
      });
    } catch (...) {
      core.reopen();
      throw;
    }
  }
  core.close(std::nullopt);
  core.locks().close();
}

SharedState::SharedState(const SharedStateOptions& options, const Environment& environment)
    : impl_(std::make_unique<Impl>(options, environment)) {}

SharedState::~SharedState() {
  if (impl_->core.forkedChild()) {
    // All of it is the parent's: its threads, and mutexes that these may have held.
    static_cast<void>(impl_.release());
    return;
  }
  try {
    impl_->close();
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
  impl_->core.checkOpen();
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

void SharedState::save(const std::string& path, const SharedSaveOptions& options) {
  impl_->core.checkMayWrite();
  impl_->save(path, options, impl_->quietCut());
}

Restored SharedState::restore(const std::string& path, const SharedRestoreOptions& options) {
  impl_->core.checkMayWrite();
  FileSystem& files = *impl_->environment.files;
  const std::string file = fileAt(files, path);
  const auto text = readWholeFile(files, file);
  if (!text) return Restored::NotFound;
  impl_->core.put(parseSharedFile(*text, path, impl_->options.application, previousOf(files, file)),
                  options.merge, options.atMost);
  return Restored::Restored;
}

Restored SharedState::importPode(const std::string& path, const SharedRestoreOptions& options) {
  impl_->core.checkMayWrite();
  FileSystem& files = *impl_->environment.files;
  const auto bytes = readWholeFile(files, fileAt(files, path));
  if (!bytes) return Restored::NotFound;
  impl_->core.put(parsePodeFile(*bytes, path), options.merge, options.atMost);
  return Restored::Restored;
}

void SharedState::exportPode(const std::string& path, const PodeExportOptions& options) {
  if (options.version != 1 && options.version != 2) {
    throw InvalidArgument(fmt::format(
        "shared state: Pode's files are written in version 1 or 2, not {}", options.version));
  }
  impl_->core.checkMayWrite();
  const SharedFilter filter{options.include, options.exclude, options.scopes, {}};
  const std::string file = fileAt(*impl_->environment.files, path);
  const auto make = [&](const std::optional<std::string>&,
                        std::chrono::steady_clock::time_point until) {
    return formatPodeFile(impl_->core.quietCut(filter, leftUntil(until)), options.version,
                          impl_->environment.clock->wallMs(), options.compress);
  };
  replaceFile(impl_->core.locks(), impl_->environment, file, options.atMost, false, make);
}

void SharedState::autosave(const AutosaveOptions& options) {
  impl_->core.checkMayWrite();
  const auto save = [this, path = options.path, how = options.save] {
    impl_->save(path, how, impl_->quietCut());
  };
  const std::lock_guard closing(impl_->closing);
  impl_->core.checkOpen();
  auto next =
      std::make_shared<SharedAutosave>(options, impl_->environment, impl_->core.changes(), save);
  {
    const std::lock_guard guard(impl_->mutex);
    impl_->autosave.swap(next);
  }
  if (next) next->stop();
}

AutosaveStatus SharedState::autosaveStatus() const {
  const auto current = impl_->currentAutosave();
  return current ? current->status() : AutosaveStatus();
}

void SharedState::testingTick() {
  if (const auto current = impl_->currentAutosave()) current->tick();
}

void SharedState::close() { impl_->close(); }

}  // namespace penstock::state
