// SPDX-License-Identifier: Apache-2.0

// SharedState against what bounds it: get and update, with one thread and with eight, against a
// std::unordered_map of Values behind one mutex, with the same names drawn at random; and a save of
// 100,000 values against writing the same bytes to a new file and syncing it. Counters are summed
// and files read back.

#include <fcntl.h>
#include <fmt/format.h>
#include <penstock/state/shared_state.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

using penstock::state::SharedState;
using penstock::state::Value;

constexpr std::size_t names = 1000;
constexpr std::size_t operations = 400'000;  // per thread
constexpr int repetitions = 5;
constexpr std::size_t savedValues = 100'000;

[[noreturn]] void fail(std::string_view what) {
  fmt::print(stderr, "wrong result: {}\n", what);
  std::exit(1);
}

double secondsOf(const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Sorted.
struct Spread {
  std::vector<double> values;
  void add(double value) {
    values.insert(std::upper_bound(values.begin(), values.end(), value), value);
  }
  [[nodiscard]] double median() const { return values[values.size() / 2]; }
  [[nodiscard]] double percent() const { return 100 * (values.back() - values.front()) / median(); }
};

/// The limit: no snapshots, no order, no scopes.
class GuardedMap {
 public:
  void set(const std::string& name, Value value) {
    const std::lock_guard guard(mutex_);
    values_[name] = std::move(value);
  }
  Value get(const std::string& name) {
    const std::lock_guard guard(mutex_);
    return values_.find(name)->second;
  }
  void addOne(const std::string& name) {
    const std::lock_guard guard(mutex_);
    Value& value = values_.find(name)->second;
    value = value.asInt64() + 1;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, Value> values_;
};

/// The same operations on the state.
class State {
 public:
  void set(const std::string& name, Value value) { state_.set(name, std::move(value)); }
  Value get(const std::string& name) { return *state_.get(name); }
  void addOne(const std::string& name) {
    state_.update(name, [](const std::optional<Value>& found) { return found->asInt64() + 1; });
  }

 private:
  SharedState state_;
};

const std::vector<std::string>& allNames() {
  static const auto* all = [] {
    auto* made = new std::vector<std::string>;
    for (std::size_t i = 0; i < names; ++i) made->push_back(fmt::format("name-{:07}", i));
    return made;
  }();
  return *all;
}

/// Operations per second of all threads together.
template <typename Contender>
double measure(unsigned threads, bool writes) {
  Contender contender;
  for (const std::string& name : allNames()) contender.set(name, 0);
  std::vector<std::thread> workers;
  std::vector<std::uint64_t> read(threads);
  const double seconds = secondsOf([&] {
    for (unsigned t = 0; t < threads; ++t) {
      workers.emplace_back([&, t] {
        std::mt19937 random(t);
        for (std::size_t i = 0; i < operations; ++i) {
          const std::string& name = allNames()[random() % names];
          if (writes) {
            contender.addOne(name);
          } else {
            read[t] += contender.get(name) == Value(0) ? 1 : 0;
          }
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
  });
  if (writes) {
    std::int64_t sum = 0;
    for (const std::string& name : allNames()) sum += contender.get(name).asInt64();
    if (sum != static_cast<std::int64_t>(threads * operations)) fail("sum");
  } else {
    for (const std::uint64_t count : read) {
      if (count != operations) fail("a value that was read");
    }
  }
  return static_cast<double>(threads * operations) / seconds;
}

void compare(const char* what, unsigned threads, bool writes) {
  Spread ours;
  Spread limit;
  for (int i = 0; i < repetitions; ++i) {
    ours.add(measure<State>(threads, writes));
    limit.add(measure<GuardedMap>(threads, writes));
  }
  fmt::print(
      "{:<8} {} thread(s) {:>12.0f}/s  {:.2f} x the guarded map  (spread {:.0f} %, {:.0f} %)\n",
      what, threads, ours.median(), ours.median() / limit.median(), ours.percent(),
      limit.percent());
}

void writeAndSync(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd) != 0 || ::close(fd) != 0) {
    fail("writing " + path);
  }
}

void compareSaves() {
  const std::string directory = std::filesystem::temp_directory_path() / "penstock-bench-shared";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const std::string file = directory + "/state.json";
  SharedState state;
  for (std::size_t i = 0; i < savedValues; ++i) {
    state.set(fmt::format("name-{:07}", i), static_cast<std::int64_t>(i));
  }
  Spread first;
  Spread again;
  Spread restore;
  Spread limit;
  for (int i = 0; i < repetitions; ++i) {
    std::filesystem::remove(file);
    first.add(secondsOf([&] { state.save(file, {.compress = true}); }));
    again.add(secondsOf([&] { state.save(file, {.compress = true}); }));
    SharedState read;
    restore.add(secondsOf([&] { (void)read.restore(file); }));
    if (read.names().size() != savedValues) fail("values that were saved");
    std::ifstream in(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    limit.add(secondsOf([&] { writeAndSync(directory + "/bytes", text); }));
  }
  const auto print = [&](const char* what, const Spread& ours) {
    fmt::print("{:<28} {:>10.0f} ms  {:.2f} x the time of write + fsync  (spread {:.0f} %)\n", what,
               1000 * ours.median(), ours.median() / limit.median(), ours.percent());
  };
  fmt::print("{} values, {} bytes, write + fsync of them {:.0f} ms\n", savedValues,
             std::filesystem::file_size(file), 1000 * limit.median());
  print("save, no file before", first);
  print("save, with one before", again);
  print("restore", restore);
  std::filesystem::remove_all(directory);
}

}  // namespace

int main() {
  for (const unsigned threads : {1U, 8U}) {
    compare("get", threads, false);
    compare("update", threads, true);
  }
  compareSaves();
  return 0;
}
