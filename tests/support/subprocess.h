// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace penstock::testing {

/// How a program ended and what it said.
struct Finished {
  int exitCode = -1;  // -1: ended by a signal
  int signal = 0;
  std::string out;
  std::string err;
};

/// A program under test, its standard input, output and error connected to this object. Killed
/// by the destructor, and by the kernel if the test dies first.
///
/// Threads: owned by one thread, which must live as long as the program.
class Subprocess {
 public:
  /// `arguments`: the program's path first. `environment`: NAME=value, added to that of the test.
  explicit Subprocess(std::vector<std::string> arguments,
                      const std::vector<std::string>& environment = {});
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void write(const std::string& input);
  void closeInput();
  void signal(int number);
  /// It has closed its output, by ending as a rule.
  [[nodiscard]] bool ended();
  /// What came out so far.
  [[nodiscard]] std::string out();
  [[nodiscard]] std::string err();
  /// Waits until `good` holds for the standard output so far. False: it ended, or took too long.
  bool waitForOutput(const std::function<bool(const std::string&)>& good,
                     std::chrono::seconds timeout = std::chrono::seconds(60));
  /// Waits for its end; a program that takes longer is killed.
  Finished wait(std::chrono::seconds timeout = std::chrono::seconds(120));
  Finished kill9();

 private:
  void collect(int fd, std::string& into);

  pid_t pid_ = -1;
  int input_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string out_;
  std::string err_;
  int open_ = 2;  // of out and err
  bool reaped_ = false;
  Finished finished_;
  std::thread outReader_;
  std::thread errReader_;
};

/// Runs a program to its end.
Finished runProgram(std::vector<std::string> arguments, const std::string& input = {},
                    const std::vector<std::string>& environment = {});

/// Whether `condition` came true in time; looks every few milliseconds.
bool eventually(const std::function<bool()>& condition,
                std::chrono::seconds timeout = std::chrono::seconds(30));

}  // namespace penstock::testing
