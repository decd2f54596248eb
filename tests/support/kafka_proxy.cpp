// SPDX-License-Identifier: Apache-2.0
#include "tests/support/kafka_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

namespace penstock::testing {
namespace {

constexpr int endTxn = 26;  // its API key
constexpr int watchMs = 50;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

bool sendAll(int socket, const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const auto sent = ::send(socket, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

std::string bigEndian(std::uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
  return bytes;
}

/// Adds what has come to `pending`; false at the end.
bool receive(int socket, std::string& pending) {
  std::array<char, 65536> buffer{};
  const auto got = ::recv(socket, buffer.data(), buffer.size(), 0);
  if (got <= 0) return false;
  pending.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

/// Takes a whole frame, length included, from the front of `pending`; empty: none is whole.
std::string takeFrame(std::string& pending) {
  if (pending.size() < 4) return {};
  std::uint32_t length = 0;
  for (int i = 0; i < 4; ++i) length = length << 8U | static_cast<std::uint8_t>(pending[i]);
  if (pending.size() < 4 + std::size_t{length}) return {};
  std::string frame = pending.substr(0, 4 + std::size_t{length});
  pending.erase(0, frame.size());
  return frame;
}

}  // namespace

KafkaProxy::KafkaProxy(const std::string& broker, std::function<Decision()> onEnd)
    : brokerPort_(std::atoi(broker.substr(broker.rfind(':') + 1).c_str())),
      onEnd_(std::move(onEnd)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || ::bind(listener_, generic, length) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, generic, &length) != 0) {
    throw std::runtime_error("a proxy found no port on loopback");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept(); });
}

KafkaProxy::~KafkaProxy() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  ::close(listener_);
}

std::string KafkaProxy::address() const { return "kafka://127.0.0.1:" + std::to_string(port_); }

void KafkaProxy::accept() {
  while (!stop_) {
    pollfd waiting{listener_, POLLIN, 0};
    if (::poll(&waiting, 1, watchMs) <= 0) continue;
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    const std::lock_guard lock(mutex_);
    connections_.emplace_back([this, client] { serve(client); });
  }
}

void KafkaProxy::serve(int client) {
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(brokerPort_);
  const int on = 1;
  for (const int socket : {client, server}) {
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  const std::string theirs = "127.0.0.1" + bigEndian(static_cast<std::uint32_t>(brokerPort_));
  const std::string ours = "127.0.0.1" + bigEndian(static_cast<std::uint32_t>(port_));
  std::string fromClient;
  std::string fromServer;
  bool open = ::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  while (open && !stop_) {
    std::array<pollfd, 2> waiting{pollfd{client, POLLIN, 0}, pollfd{server, POLLIN, 0}};
    if (::poll(waiting.data(), waiting.size(), watchMs) <= 0) continue;
    if (waiting[1].revents != 0) {
      open = receive(server, fromServer);
      for (std::string frame; !(frame = takeFrame(fromServer)).empty();) {
        for (auto at = frame.find(theirs); at != std::string::npos; at = frame.find(theirs, at)) {
          frame.replace(at, ours.size(), ours);
        }
        open = open && sendAll(client, frame);
      }
    }
    if (open && waiting[0].revents != 0) {
      open = receive(client, fromClient);
      for (std::string frame; open && !(frame = takeFrame(fromClient)).empty();) {
        open = request(client, server, frame);
      }
    }
  }
  ::close(client);
  ::close(server);
}

/// That long, or until the proxy goes.
void KafkaProxy::hold(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  stopped_.wait_for(lock, time, [&] { return stop_.load(); });
}

/// False when the connection is over.
bool KafkaProxy::request(int client, int server, const std::string& frame) {
  const int key = static_cast<std::uint8_t>(frame[4]) << 8U | static_cast<std::uint8_t>(frame[5]);
  if (key != endTxn) return sendAll(server, frame);
  const Decision decision = onEnd_();
  if (decision.fault != Fault::None) ++faults_;
  switch (decision.fault) {
    case Fault::None:
      return sendAll(server, frame);
    case Fault::Delay:
      hold(decision.time);
      return sendAll(server, frame);
    case Fault::DropRequest:
      return false;
    case Fault::DropAnswer: {
      std::string answer;
      static_cast<void>(sendAll(server, frame) && receive(server, answer));
      return false;
    }
    case Fault::HeldAndCut:
      ::shutdown(client, SHUT_RDWR);
      hold(decision.time);
      std::string answer;
      static_cast<void>(sendAll(server, frame) && receive(server, answer));
      return false;
  }
  return false;
}

}  // namespace penstock::testing
