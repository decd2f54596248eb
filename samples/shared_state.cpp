// SPDX-License-Identifier: Apache-2.0
//
//   timer ── adds a random number ──> [SharedState: "hash"] <── reads, removes ── reader
//     └───────── saves ──> FILE ── restored at start ──┘
//
// A value that timers and a reader share: every interval each timer adds a number to a list and
// saves the state; the reader looks at it, and removes it when it has become long. Kill it and
// start it again: it goes on with what was saved.
#include <penstock/exit_code.h>
#include <penstock/state/shared_state.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <future>
#include <random>
#include <string>
#include <vector>

namespace {

using penstock::state::Restored;
using penstock::state::SharedState;
using penstock::state::SharedValue;
using penstock::state::Value;
using penstock::state::ValueMap;

struct Options {
  std::string file = "./state.json";
  unsigned intervalMs = 2000;
  unsigned times = 0;  // that each timer adds a number; 0: until SIGTERM
  unsigned timers = 1;
  unsigned removeAt = 0;  // numbers; 0: never
};

std::atomic<bool> stopping{false};

/// False when the program is to end.
bool pause(unsigned ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  while (!stopping && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(ms, 50U)));
  }
  return !stopping;
}

Value emptyHash() { return ValueMap{{"values", Value::List{}}}; }

const Value::List& numbersOf(const SharedValue& hash) {
  return hash->asMap().at("values").asList();
}

void runTimer(SharedState& state, const Options& options) {
  std::mt19937 random(std::random_device{}());
  for (unsigned i = 0; options.times == 0 || i < options.times; ++i) {
    if (!pause(options.intervalMs)) return;
    const int number = std::uniform_int_distribution<int>(0, 9)(random);
    // One step, whoever else adds or removes: no lock is needed.
    const auto added = state.update("hash", [&](std::optional<Value> hash) {
      if (!hash) hash = emptyHash();  // the reader removed it
      hash->asMap()["values"].asList().push_back(number);
      return *std::move(hash);
    });
    state.save(options.file);  // on disk when it returns
    std::printf("saved %zu, the last is %d\n", numbersOf(added.current).size(), number);
  }
}

void runReader(SharedState& state, const Options& options, const std::atomic<bool>& done) {
  while (!done && pause(options.intervalMs)) {
    const SharedValue hash = state.get("hash");  // nobody changes what was read
    if (!hash || options.removeAt == 0 || numbersOf(hash).size() < options.removeAt) continue;
    if (const SharedValue removed = state.remove("hash")) {
      std::printf("removed %zu\n", numbersOf(removed).size());
    }
  }
}

void run(const Options& options) {
  SharedState state({.application = "shared_state"});
  state.set("hash", emptyHash());
  if (state.restore(options.file) == Restored::Restored) {
    const SharedValue hash = state.get("hash");
    std::printf("restored %zu\n", hash ? numbersOf(hash).size() : 0);
  }
  std::atomic<bool> done{false};
  auto reader = std::async(std::launch::async, [&] { runReader(state, options, done); });
  std::vector<std::future<void>> timers;
  for (unsigned i = 0; i < options.timers; ++i) {
    timers.push_back(std::async(std::launch::async, [&] {
      try {
        runTimer(state, options);
      } catch (...) {
        stopping = true;
        throw;
      }
    }));
  }
  for (auto& timer : timers) timer.wait();
  done = true;
  reader.get();
  for (auto& timer : timers) timer.get();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Adds random numbers to a shared list and saves it, over crashes", "shared_state");
  app.add_option("--file", options.file, "file of the state")->capture_default_str();
  app.add_option("--interval", options.intervalMs, "of timers and reader, ms")
      ->capture_default_str();
  app.add_option("--times", options.times, "numbers that each timer adds; 0: until SIGTERM")
      ->capture_default_str();
  app.add_option("--timers", options.timers, "timers that add")->capture_default_str();
  app.add_option("--remove-at", options.removeAt, "numbers at which the list goes; 0: it stays")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  struct sigaction action {};
  action.sa_handler = [](int) { stopping = true; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // who reads it sees what was saved at once
  try {
    run(options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shared_state: %s\n", error.what());
    return penstock::exitCode(error);
  }
}
