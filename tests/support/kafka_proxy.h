// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace penstock::testing {

/// A TCP proxy on loopback before a Kafka broker, that does to requests which end a transaction
/// (EndTxn) what networks do. It knows Kafka's frames (length, API key) and writes its own port
/// into answers that name the broker's, so that clients stay with it.
///
/// Threads: safe from any thread.
class KafkaProxy {
 public:
  enum class Fault : std::uint8_t {
    None,
    Delay,        // forwarded later
    DropRequest,  // not forwarded; the connection is cut
    DropAnswer,   // forwarded; the connection is cut instead of the answer
    HeldAndCut,   // the connection is cut; the broker gets it later, whatever came meanwhile
  };
  struct Decision {
    Fault fault = Fault::None;
    std::chrono::milliseconds time{0};  // of Delay and HeldAndCut
  };

  /// `onEnd` is asked for every EndTxn.
  KafkaProxy(const std::string& broker, std::function<Decision()> onEnd);
  ~KafkaProxy();
  KafkaProxy(const KafkaProxy&) = delete;
  KafkaProxy& operator=(const KafkaProxy&) = delete;

  [[nodiscard]] std::string address() const;                     // kafka://HOST:PORT
  [[nodiscard]] int faults() const noexcept { return faults_; }  // that were not None

 private:
  void accept();
  void serve(int client);
  bool request(int client, int server, const std::string& frame);
  void hold(std::chrono::milliseconds time);

  const int brokerPort_;
  const std::function<Decision()> onEnd_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> faults_{0};
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::vector<std::thread> connections_;  // guarded by mutex_
  std::thread acceptor_;
};

}  // namespace penstock::testing
