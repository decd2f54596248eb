// SPDX-License-Identifier: Apache-2.0
//
// What can be wrong with the directory below a client, a producer or an application: permissions,
// no space, another process. Each is a typed error, nothing is lost, and it goes on when it can.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/exit_code.h>
#include <penstock/state/errors.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/streaming_client.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "samples/wordcount_topology.h"
#include "support/full_disk.h"
#include "support/message_of.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"
#include "support/unprivileged.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using testing::asUnprivileged;
using testing::FullDisk;
using ::testing::HasSubstr;
using testing::messageOf;
using testing::TemporaryDirectory;

/// A process that has opened something, until the object goes. Fork before anything is open here.
class HoldingProcess {
 public:
  explicit HoldingProcess(const std::function<void(const std::function<void()>& hold)>& body) {
    int opened[2];
    if (::pipe(opened) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(opened[0]);
      try {
        body([&] {
          (void)!::write(opened[1], "!", 1);
          for (;;) ::pause();
        });
      } catch (const std::exception& error) {
        std::fprintf(stderr, "holder: %s\n", error.what());
      }
      ::_exit(1);
    }
    ::close(opened[1]);
    char ready = 0;
    EXPECT_EQ(::read(opened[0], &ready, 1), 1);
    ::close(opened[0]);
  }
  ~HoldingProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  HoldingProcess(const HoldingProcess&) = delete;
  HoldingProcess& operator=(const HoldingProcess&) = delete;
  [[nodiscard]] std::string name() const { return "pid " + std::to_string(pid_) + " on"; }

 private:
  pid_t pid_ = -1;
};

class DirectoryFaults : public ::testing::Test {
 protected:
  [[nodiscard]] ApplicationOptions options() const {
    ApplicationOptions options;
    options.id = "wordcount";
    options.broker = path;
    options.untilEnd = true;
    options.handleSignals = false;
    return options;
  }
  void count() const {
    Application application(options());
    wordcountTopology(application, "lines", "counts");
    application.run();
  }
  static std::map<std::string, std::string> lastCounts(const StreamingClient& client) {
    std::map<std::string, std::string> last;
    TopicConsumer consumer = client.consumer("counts");
    consumer.forEach([&](const TopicPartition&, const RecordView& record) {
      last[std::string(record.key.value_or(""))] = record.value.value_or("");
    });
    return last;
  }
  /// The code that a program would end with.
  static int codeOf(const std::function<void()>& call) {
    try {
      call();
    } catch (const std::exception& error) {
      return exitCode(error);
    }
    return 0;
  }

  TemporaryDirectory directory;
  std::string path = directory / "topics";
};

TEST_F(DirectoryFaults, AProcessWithoutPermissionIsToldWhichAndWhatToDo) {
  ASSERT_EQ(::chmod(directory.path().c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(path.c_str(), 0755), 0);
  // not readable, not writable, not to be entered
  for (const mode_t mode : {0333U, 0555U, 0000U}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    const std::string said = asUnprivileged([&] {
      return messageOf<state::IoError>([&] { const StreamingClient refused("file://" + path); });
    });
    EXPECT_THAT(said, AllOf(HasSubstr(path), HasSubstr("Permission denied"),
                            HasSubstr("check the owner and permissions of the directory")))
        << mode;
    EXPECT_EQ(asUnprivileged([&] { return std::to_string(codeOf([&] { count(); })); }), "2")
        << mode;
  }
  ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
  EXPECT_TRUE(std::filesystem::is_empty(path));
}

TEST_F(DirectoryFaults, AFullDiskFailsDeliveriesAndFlushUntilThereIsSpace) {
  const StreamingClient client(path);
  client.createTopic("t");
  TopicProducer producer = client.producer("t");
  producer.send({.value = "before"}).get();
  {
    const FullDisk full(1);
    auto delivery = producer.send({.value = "refused"});
    EXPECT_THAT(messageOf<state::DiskFull>([&] { (void)delivery.get(); }),
                AllOf(HasSubstr(path), HasSubstr("works again once there is space")));
    producer.post({.value = "refused too"});
    EXPECT_THAT(messageOf<state::DiskFull>([&] { producer.flush(); }), HasSubstr(path));
  }
  producer.send({.value = "after"}).get();
  producer.flush();
  std::vector<std::string> values;
  TopicConsumer consumer = client.consumer("t");
  consumer.forEach([&](const TopicPartition&, const RecordView& record) {
    values.emplace_back(record.value.value_or("(none)"));
  });
  EXPECT_THAT(values, ::testing::ElementsAre("before", "after"));
}

TEST_F(DirectoryFaults, AnApplicationOnAFullDiskEndsAsPassingAndGoesOnExactly) {
  const StreamingClient client(path);
  client.createTopic("lines");
  client.createTopic("counts");
  TopicProducer producer = client.producer("lines");
  producer.send({.value = "a b a"}).get();
  count();
  EXPECT_EQ(lastCounts(client)["a"], std::string("\0\0\0\0\0\0\0\2", 8));
  producer.send({.value = "a c"}).get();
  {
    const FullDisk full(1);
    EXPECT_THAT(messageOf<state::DiskFull>([&] { count(); }), HasSubstr(path));
    EXPECT_EQ(codeOf([&] { count(); }), 4);
  }
  count();
  EXPECT_EQ(lastCounts(client)["a"], std::string("\0\0\0\0\0\0\0\3", 8));
  EXPECT_EQ(lastCounts(client)["c"], std::string("\0\0\0\0\0\0\0\1", 8));
}

TEST_F(DirectoryFaults, AProcessThatSharesRefusesOneThatWantsTheDirectoryAlone) {
  {
    const HoldingProcess holder([&](const auto& hold) {
      const StreamingClient client(path);
      client.createTopic("lines");
      client.createTopic("counts");
      hold();
    });
    EXPECT_THAT(messageOf<state::OwnedElsewhere>([&] { state::LocalFileStorage storage(path); }),
                AllOf(HasSubstr(path), HasSubstr(holder.name())));
    const StreamingClient sharing(path);
    EXPECT_THAT(sharing.listTopics(), ::testing::ElementsAre("counts", "lines"));
  }
  const HoldingProcess holder([&](const auto& hold) {
    Application application([&] {
      ApplicationOptions running = options();
      running.untilEnd = false;
      return running;
    }());
    wordcountTopology(application, "lines", "counts");
    std::thread watching([&] {
      if (testing::eventually([&] { return application.metrics().tasks != 0; })) hold();
    });
    application.run();
  });
  EXPECT_THAT(messageOf<state::OwnedElsewhere>([&] { state::LocalFileStorage storage(path); }),
              AllOf(HasSubstr(path), HasSubstr(holder.name())));
}

TEST_F(DirectoryFaults, AProcessThatHasTheDirectoryAloneRefusesAllOthers) {
  const HoldingProcess holder([&](const auto& hold) {
    const state::LocalFileStorage storage(path);
    hold();
  });
  EXPECT_THAT(messageOf<state::OwnedElsewhere>([&] { const StreamingClient client(path); }),
              AllOf(HasSubstr(path), HasSubstr(holder.name()),
                    HasSubstr("open the directory as shared in both")));
  EXPECT_THAT(messageOf<state::OwnedElsewhere>([&] { count(); }), HasSubstr(holder.name()));
  EXPECT_EQ(codeOf([&] { count(); }), 4);
}

// A byte of an acknowledged record is not what it was.
TEST_F(DirectoryFaults, DamageIsNamedAndNothingIsSkippedOrRepaired) {
  {
    StreamingClient client(path);
    client.createTopic("lines", {.partitions = 1});
    TopicProducer producer = client.producer("lines");
    for (int i = 0; i < 100; ++i) producer.send({.value = "a line " + std::to_string(i)}).get();
  }
  const std::string segment = path + "/segment-0000000001.log";
  std::string content;
  {
    std::ifstream file(segment, std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::size_t at = content.find("a line 50");
  ASSERT_NE(at, std::string::npos);
  content[at] ^= 1;
  std::ofstream(segment, std::ios::binary | std::ios::trunc) << content;
  EXPECT_THAT(messageOf<state::Corruption>([&] { (void)StreamingClient(path).listTopics(); }),
              AllOf(HasSubstr(segment), HasSubstr(state::Corruption::journalAdvice)));
  EXPECT_EQ(codeOf([&] { count(); }), 3);
  std::ifstream file(segment, std::ios::binary);
  EXPECT_TRUE(content == std::string(std::istreambuf_iterator<char>(file), {}));
}

TEST_F(DirectoryFaults, ADirectoryOfSomethingElseIsRefusedAndKept) {
  std::filesystem::create_directories(path);
  std::ofstream(path + "/segment-0000000001.log") << std::string(1000, 'x');
  EXPECT_THAT(messageOf<state::Corruption>([&] { (void)StreamingClient(path).listTopics(); }),
              AllOf(HasSubstr("segment-0000000001.log"), HasSubstr("move it out"),
                    HasSubstr(state::Corruption::journalAdvice)));
  EXPECT_EQ(codeOf([&] { count(); }), 3);
  EXPECT_EQ(std::filesystem::file_size(path + "/segment-0000000001.log"), 1000U);
}

}  // namespace
}  // namespace penstock
