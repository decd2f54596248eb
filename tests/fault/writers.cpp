// SPDX-License-Identifier: Apache-2.0
#include "fault/writers.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>
#include <thread>

#include "fault/content.h"

namespace penstock::fault {
namespace {

struct Ack {
  std::uint16_t writer;
  std::uint8_t synced;
  std::uint8_t afterFailure;
  std::uint32_t number;
};

void write(const std::shared_ptr<state::Journal>& journal, std::uint16_t writer, int acks,
           bool stubborn) {
  const state::StoreId store = journal->declareStore("numbers");
  const state::LogId log = journal->declareLog("records");
  const std::string key = "writer-" + std::to_string(writer);
  const auto view = journal->store(store);
  std::string text;
  auto number = static_cast<std::uint32_t>(view->get(key, text) ? std::stoul(text) : 0);
  int triesLeft = stubborn ? 20 : 0;
  bool failed = false;
  for (++number;;) {
    state::Commit commit;
    commit.put(store, key, std::to_string(number));
    appendRecord(commit.recordBuffer(log), key + " " + std::to_string(number));
    commit.recordAdded(log, number);
    const bool synced = number % 4 != 0;
    try {
      static_cast<void>(journal->commit(
          commit, synced ? state::Durability::Synced : state::Durability::Buffered));
    } catch (const Error& error) {
      if (triesLeft-- == 0) throw;
      failed = failed || dynamic_cast<const state::JournalFailed*>(&error) != nullptr;
      continue;
    }
    const Ack ack{writer, static_cast<std::uint8_t>(synced), static_cast<std::uint8_t>(failed),
                  number++};
    if (::write(acks, &ack, sizeof ack) != sizeof ack) ::_exit(3);
  }
}

void writeOrDie(const std::shared_ptr<state::Journal>& journal, std::uint16_t writer, int acks,
                bool stubborn) {
  try {
    write(journal, writer, acks, stubborn);
  } catch (const std::exception& error) {
    if (stubborn) return;
    std::fprintf(stderr, "writer %d: %s\n", writer, error.what());
    ::_exit(4);
  }
}

[[noreturn]] void run(const std::string& directory, state::Sharing sharing, std::uint16_t writer,
                      int acks, bool stubborn) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::shared_ptr<state::Journal> journal;
  try {
    journal = state::Journal::open(directory, writerOptions(sharing));
  } catch (const std::exception& error) {
    if (!stubborn) std::fprintf(stderr, "writer %d: %s\n", writer, error.what());
    ::_exit(5);
  }
  if (sharing == state::Sharing::Shared) {
    writeOrDie(journal, writer, acks, stubborn);
  } else {
    std::vector<std::thread> threads;
    for (std::uint16_t i = 0; i < kWriters; ++i) {
      threads.emplace_back([&, i] { writeOrDie(journal, i, acks, stubborn); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  ::close(acks);
  for (;;) ::pause();  // with the journal open
}

void pause(long nanoseconds) {
  pollfd never{-1, 0, 0};
  const timespec instant{0, nanoseconds};
  ::ppoll(&never, 1, &instant, nullptr);
}

}  // namespace

state::JournalOptions writerOptions(state::Sharing sharing) {
  state::JournalOptions options;
  options.sharing = sharing;
  options.segmentBytes = 128 << 10;
  options.snapshotAfterBytes = 64 << 10;
  options.syncInterval = std::chrono::milliseconds(5);
  return options;
}

Writers::Writers(const std::string& directory, state::Sharing sharing, bool stubborn,
                 const std::function<void(int)>& atStart) {
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  acks_ = pipe[0];
  const int processes = sharing == state::Sharing::Shared ? kWriters : 1;
  for (int i = 0; i < processes; ++i) {
    const pid_t child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
      ::close(pipe[0]);
      if (atStart) atStart(i);
      run(directory, sharing, static_cast<std::uint16_t>(i), pipe[1], stubborn);
    }
    children_.push_back(child);
  }
  ::close(pipe[1]);
}

Writers::~Writers() {
  for (const pid_t child : children_) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  ::close(acks_);
}

bool Writers::take(Acknowledged& acked) {
  Ack ack{};
  if (::read(acks_, &ack, sizeof ack) != sizeof ack) return false;
  acked.written[ack.writer] = std::max(acked.written[ack.writer], ack.number);
  if (ack.synced != 0) acked.synced[ack.writer] = std::max(acked.synced[ack.writer], ack.number);
  ++acked.total;
  acked.afterFailure += ack.afterFailure;
  return true;
}

void Writers::takeSent(Acknowledged& acked) {
  int bytes = 0;
  if (::ioctl(acks_, FIONREAD, &bytes) != 0) {
    throw std::system_error(errno, std::generic_category(), "FIONREAD");
  }
  for (std::size_t left = static_cast<std::size_t>(bytes) / sizeof(Ack); left > 0; --left) {
    static_cast<void>(take(acked));
  }
}

void Writers::letWrite(std::uint64_t count, testsupport::SimRandom& random, Acknowledged& acked) {
  for (std::uint64_t i = 0; i < count && take(acked); ++i) {
  }
  // Without an acknowledgement seen, the journal may still be opening.
  pause(static_cast<long>(random.below(count == 0 ? 20'000'000 : 500'000)));
}

std::string Writers::kill(Acknowledged& acked, bool mayFail) {
  std::string problem;
  for (const pid_t child : children_) ::kill(child, SIGKILL);
  for (const pid_t child : children_) {
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) && !mayFail) {
      problem = "a writer ended by itself, status " + std::to_string(WEXITSTATUS(status));
    }
  }
  children_.clear();
  while (take(acked)) {
  }
  return problem;
}

std::string checkWritten(const std::string& directory, state::Sharing sharing,
                         const Numbers& atLeast, bool trim, std::optional<Numbers>* found) {
  try {
    const auto journal = state::Journal::open(directory, writerOptions(sharing));
    const Content content = readContent(journal);
    Numbers last{};
    Numbers stored{};
    const auto log = content.logs.find("records");
    if (log != content.logs.end()) {
      for (const std::string& record : log->second.records) {
        const auto writer = static_cast<std::size_t>(record.at(7) - '0');
        const auto number = static_cast<std::uint32_t>(std::stoul(record.substr(9)));
        if (last.at(writer) != 0 && number != last.at(writer) + 1) return "hole before " + record;
        last.at(writer) = number;
      }
    }
    const auto numbers = content.stores.find("numbers");
    for (std::size_t i = 0; i < kWriters && numbers != content.stores.end(); ++i) {
      const auto at = numbers->second.find("writer-" + std::to_string(i));
      if (at != numbers->second.end()) {
        stored[i] = static_cast<std::uint32_t>(std::stoul(at->second));
      }
    }
    if (found != nullptr) *found = stored;
    for (std::size_t i = 0; i < kWriters; ++i) {
      if (stored[i] < atLeast[i]) {
        return "writer " + std::to_string(i) + " was told " + std::to_string(atLeast[i]) +
               ", found " + std::to_string(stored[i]);
      }
      if (last[i] != 0 && stored[i] != last[i]) {
        return "writer " + std::to_string(i) + ": state " + std::to_string(stored[i]) +
               " and record " + std::to_string(last[i]) + " do not agree";
      }
    }
    if (trim && log != content.logs.end()) {
      const state::LogId id = *journal->findLog("records");
      journal->trimLog(id, journal->log(id).end);
      static_cast<void>(journal->clean());
    }
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace penstock::fault
