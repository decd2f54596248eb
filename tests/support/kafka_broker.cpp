// SPDX-License-Identifier: Apache-2.0
#include "tests/support/kafka_broker.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "tests/support/build_paths.h"

namespace penstock::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;
using namespace std::chrono_literals;

/// Free when asked; both sockets are open at once so that the two differ.
std::array<std::string, 2> freePorts() {
  std::array<int, 2> sockets{};
  std::array<std::string, 2> ports;
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    sockets[i] = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (sockets[i] < 0 || ::bind(sockets[i], generic, length) != 0 ||
        ::getsockname(sockets[i], generic, &length) != 0) {
      throw std::runtime_error("no free port on loopback");
    }
    ports[i] = std::to_string(ntohs(address.sin_port));
  }
  for (const int socket : sockets) ::close(socket);
  return ports;
}

bool answers(const std::string& servers, int timeoutMs) {
  char error[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", servers.c_str(), nullptr, 0);
  rd_kafka_conf_set(conf, "log_level", "0", nullptr, 0);
  rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
  if (client == nullptr) throw std::runtime_error(error);
  const rd_kafka_metadata_t* metadata = nullptr;
  const auto failure = rd_kafka_metadata(client, 1, nullptr, &metadata, timeoutMs);
  const bool good = failure == RD_KAFKA_RESP_ERR_NO_ERROR && metadata->broker_cnt > 0;
  if (metadata != nullptr) rd_kafka_metadata_destroy(metadata);
  rd_kafka_destroy(client);
  return good;
}

}  // namespace

KafkaBroker::KafkaBroker() {
  if (const char* given = std::getenv("PENSTOCK_BROKER"); given != nullptr && *given != 0) {
    ours_ = false;
    servers_ = given;
    if (const auto scheme = servers_.find("://"); scheme != std::string::npos) {
      servers_.erase(0, scheme + 3);
    }
    if (!answers(servers_, 10000)) {
      throw std::runtime_error("PENSTOCK_BROKER=" + servers_ + " does not answer");
    }
    return;
  }
  std::string pattern = (std::filesystem::temp_directory_path() / "penstock-kafka-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
  directory_ = pattern;
  for (int attempt = 0; attempt < 3; ++attempt) {  // somebody may take a port before the broker
    const auto ports = freePorts();
    port_ = ports[0];
    controllerPort_ = ports[1];
    servers_ = "127.0.0.1:" + port_;
    start();
    if (awaitReady()) return;
  }
  throw std::runtime_error("the Kafka broker ended at start:\n" + logTail());
}

KafkaBroker::~KafkaBroker() {
  if (!ours_) return;
  kill9();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void KafkaBroker::start() {
  const std::string script = sourceDirectory() + "/scripts/kafka-broker";
  const std::string data = directory_.string();
  const std::string log = data + "/broker.log";
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {  // only async-signal-safe calls from here
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(::open("/dev/null", O_RDONLY), 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execl(script.c_str(), script.c_str(), "start", data.c_str(), port_.c_str(),
            controllerPort_.c_str(), nullptr);
    ::_exit(127);
  }
  ::setpgid(pid_, pid_);
}

bool KafkaBroker::awaitReady() {
  // Ten minutes, because the first start on a machine downloads the broker.
  for (const auto deadline = Clock::now() + 600s; Clock::now() < deadline;) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return false;
    }
    if (answers(servers_, 500)) return true;
  }
  throw std::runtime_error("the Kafka broker does not answer:\n" + logTail());
}

void KafkaBroker::reap(seconds patience) {
  for (const auto deadline = Clock::now() + patience; Clock::now() < deadline;) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return;
    }
    std::this_thread::sleep_for(5ms);
  }
  ::kill(-pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void KafkaBroker::stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  reap(30s);
}

void KafkaBroker::kill9() {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  reap(30s);
}

void KafkaBroker::restart() {
  if (pid_ > 0) stop();
  start();
  if (!awaitReady()) throw std::runtime_error("the Kafka broker ended at restart:\n" + logTail());
}

void KafkaBroker::freeze() { ::kill(-pid_, SIGSTOP); }

void KafkaBroker::thaw() { ::kill(-pid_, SIGCONT); }

std::string KafkaBroker::logTail() const {
  std::ifstream file(directory_ / "broker.log");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return text.size() > 4000 ? text.substr(text.size() - 4000) : text;
}

}  // namespace penstock::testing
