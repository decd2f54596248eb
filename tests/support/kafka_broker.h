// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>

namespace penstock::testing {

/// One real Kafka broker (scripts/kafka-broker) in a temporary directory, on free ports chosen by
/// the system. The constructor returns when the broker answers. It dies with this process, however
/// that ends; data and ports survive `stop`, `kill9` and `restart`.
///
/// With PENSTOCK_BROKER=HOST:PORT in the environment that broker is used instead: it is never
/// stopped, and `ours` is false.
///
/// Threads: owned by the thread that made it, which must live as long as the broker.
class KafkaBroker {
 public:
  KafkaBroker();
  ~KafkaBroker();
  KafkaBroker(const KafkaBroker&) = delete;
  KafkaBroker& operator=(const KafkaBroker&) = delete;

  [[nodiscard]] const std::string& servers() const { return servers_; }  // HOST:PORT
  [[nodiscard]] std::string address() const { return "kafka://" + servers_; }
  [[nodiscard]] bool ours() const { return ours_; }

  void stop();     // SIGTERM: leaves in order
  void kill9();    // SIGKILL
  void restart();  // after stop or kill9: the same data on the same port; returns when it answers
  void freeze();   // SIGSTOP: connected and silent
  void thaw();

 private:
  void start();
  bool awaitReady();  // false: it ended
  void reap(std::chrono::seconds patience);
  [[nodiscard]] std::string logTail() const;

  bool ours_ = true;
  std::filesystem::path directory_;
  std::string servers_;
  std::string port_;
  std::string controllerPort_;
  pid_t pid_ = -1;
};

}  // namespace penstock::testing
