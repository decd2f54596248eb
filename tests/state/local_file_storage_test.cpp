// SPDX-License-Identifier: Apache-2.0

// The cases L1 to L10 of the legacy client's acceptance list, and each of its traps turned into
// correct behaviour. What survives a power cut is the journal's to prove (tests/fault).

#include "penstock/state/local_file_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <thread>

#include "penstock/state/cereal.h"
#include "tests/support/full_disk.h"
#include "tests/support/message_of.h"
#include "tests/support/sim_fs.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_seed.h"

namespace shop {

struct Customer {
  std::string name;
  std::vector<std::int64_t> orders;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(name, orders);
  }
  bool operator==(const Customer&) const = default;
};

// What other versions of the program call by the same name.
struct CustomerBefore {
  static constexpr std::string_view storedName = "shop::Customer";
  std::string name;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(name);
  }
};

struct Article {
  int count = 0;
  template <typename Archive>
  void serialize(Archive& archive, std::uint32_t) {
    archive(count);
  }
};

struct ArticleBefore {
  static constexpr std::string_view storedName = "shop::Article";
  int count = 0;
  template <typename Archive>
  void serialize(Archive& archive, std::uint32_t) {
    archive(count);
  }
};

}  // namespace shop
CEREAL_CLASS_VERSION(shop::Article, 2)
CEREAL_CLASS_VERSION(shop::ArticleBefore, 1)

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Binary pattern(std::size_t size) {
  Binary bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + (i >> 8));
  return bytes;
}

// A forked process that runs `body` and is killed with the test. Fork before this process has
// opened a storage: a child must not have its parent's.
class Child {
 public:
  explicit Child(const std::function<void(const Child&)>& body) {
    int toParent[2];
    int toChild[2];
    if (::pipe(toParent) != 0 || ::pipe(toChild) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(toParent[0]);
      ::close(toChild[1]);
      in_ = toChild[0];
      out_ = toParent[1];
      try {
        body(*this);
      } catch (const std::exception& error) {
        ::fprintf(stderr, "child: %s\n", error.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    ::close(toParent[1]);
    ::close(toChild[0]);
    in_ = toParent[0];
    out_ = toChild[1];
  }
  ~Child() {
    if (pid_ > 0) kill9();
    ::close(in_);
    ::close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Both sides: a number to the other, the next number from it (nullopt: it is gone).
  void tell(std::uint32_t number) const { (void)!::write(out_, &number, sizeof(number)); }
  std::optional<std::uint32_t> hear() const {
    std::uint32_t number = 0;
    const bool whole = ::read(in_, &number, sizeof(number)) == sizeof(number);
    return whole ? std::optional(number) : std::nullopt;
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  void kill9() {
    ::kill(pid_, SIGKILL);
    wait();
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
};

class LocalFileStorageTest : public ::testing::Test {
 protected:
  [[nodiscard]] LocalFileStorage open(const LocalFileStorageOptions& options = {}) const {
    return LocalFileStorage(directory_.path(), options);
  }
  TemporaryDirectory directory_;
};

// L1

TEST_F(LocalFileStorageTest, DefaultDirectoryIsCreatedOnDemand) {
  const std::string wanted = directory_ / "of/environment";
  ::setenv("PENSTOCK_STATE_DIR", wanted.c_str(), 1);
  { LocalFileStorage().set("key", 1); }
  { EXPECT_EQ(LocalFileStorage().getLong("key"), 1); }
  ::unsetenv("PENSTOCK_STATE_DIR");
  EXPECT_TRUE(std::filesystem::is_directory(wanted));

  const auto before = std::filesystem::current_path();
  std::filesystem::create_directory(directory_ / "work");
  std::filesystem::current_path(directory_ / "work");
  ::setenv("PENSTOCK_STATE_DIR", "", 1);  // as if it were not there
  { LocalFileStorage().set("key", 2); }
  ::unsetenv("PENSTOCK_STATE_DIR");
  std::filesystem::current_path(before);
  EXPECT_EQ(LocalFileStorage(directory_ / "work/state").getLong("key"), 2);
}

TEST_F(LocalFileStorageTest, MissingDirectoryIsAnErrorWhenItMayNotBeCreated) {
  LocalFileStorageOptions options;
  options.createDirectory = false;
  EXPECT_THAT(messageOf<Error>([&] { LocalFileStorage(directory_ / "absent", options); }),
              HasSubstr("absent"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "absent"));
  EXPECT_THROW(LocalFileStorage(""), ConfigurationError);
}

TEST_F(LocalFileStorageTest, FilesArePrivate) {
  LocalFileStorage(directory_ / "state").set("key", 1);
  struct stat info {};
  ASSERT_EQ(::stat((directory_ / "state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "state")) {
    ASSERT_EQ(::stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0077U, 0U) << entry.path();
  }
}

// L2, L7

TEST_F(LocalFileStorageTest, EveryTypeComesBackAndSurvivesReopening) {
  using Limits = std::numeric_limits<double>;
  const std::vector<double> doubles = {0.0,
                                       -0.0,
                                       12.51,
                                       -12.51,
                                       Limits::infinity(),
                                       -Limits::infinity(),
                                       Limits::denorm_min(),
                                       Limits::max(),
                                       Limits::min(),
                                       1.23};
  const std::vector<std::int64_t> longs = {0,
                                           1,
                                           -1,
                                           9875,
                                           -9875,
                                           std::numeric_limits<std::int64_t>::min(),
                                           std::numeric_limits<std::int64_t>::max()};
  const std::vector<std::string> strings = {"", "test", std::string("a\0b", 3), "\xF0\x9F\x98\x80",
                                            "\xFF\xFE not UTF-8"};
  const std::vector<std::size_t> sizes = {0, 1, 10, 500, 1024, 10240, 1 << 20};
  const Value value = ValueMap{{"null", nullptr}, {"list", Value::List{1, 2.5, "x", true}}};
  const shop::Customer customer{"Ada", {1, 2, 3}};
  {
    LocalFileStorage storage = open();
    for (std::size_t i = 0; i < doubles.size(); ++i) {
      storage.set("double" + std::to_string(i), doubles[i]);
    }
    storage.set("nan", std::nan(""));
    for (const std::int64_t number : longs) storage.set("long" + std::to_string(number), number);
    for (std::size_t i = 0; i < strings.size(); ++i) {
      storage.set("string" + std::to_string(i), strings[i]);
    }
    for (const std::size_t size : sizes) storage.set("bin" + std::to_string(size), pattern(size));
    storage.set("true", true);
    storage.set("false", false);
    storage.set("null", nullptr);
    storage.set("value", value);
    storage.set("struct", customer);
    storage.set("literal", "text");
    storage.set("view", std::string_view("text"));
    storage.set("float", 0.1F);
    storage.set("uint8", std::uint8_t{255});
    storage.set("span", std::span<const std::byte>(pattern(10)));
    storage.set("octets", std::vector<unsigned char>{1, 2});
  }
  const LocalFileStorage storage = open();
  for (std::size_t i = 0; i < doubles.size(); ++i) {
    const double read = storage.getDouble("double" + std::to_string(i));
    EXPECT_EQ(std::memcmp(&read, &doubles[i], sizeof(read)), 0) << doubles[i];
  }
  EXPECT_TRUE(std::isnan(storage.getDouble("nan")));
  for (const std::int64_t number : longs) {
    EXPECT_EQ(storage.getLong("long" + std::to_string(number)), number);
  }
  for (std::size_t i = 0; i < strings.size(); ++i) {
    EXPECT_EQ(storage.getString("string" + std::to_string(i)), strings[i]);
  }
  for (const std::size_t size : sizes) {
    EXPECT_EQ(storage.getBinary("bin" + std::to_string(size)), pattern(size));
  }
  EXPECT_TRUE(storage.getBool("true"));
  EXPECT_FALSE(storage.getBool("false"));
  EXPECT_TRUE(storage.get<Value>("null").isNull());
  EXPECT_EQ(storage.get<Value>("value"), value);
  EXPECT_EQ(storage.get<shop::Customer>("struct"), customer);
  EXPECT_EQ(storage.getString("literal"), "text");
  EXPECT_EQ(storage.getString("view"), "text");
  EXPECT_EQ(storage.get<float>("float"), 0.1F);
  EXPECT_EQ(storage.get<std::uint8_t>("uint8"), 255);
  EXPECT_EQ(storage.getBinary("span"), pattern(10));
  EXPECT_EQ(storage.get<std::vector<unsigned char>>("octets"), (std::vector<unsigned char>{1, 2}));
  EXPECT_EQ(storage.get<Value>("uint8"), Value(255));
}

TEST_F(LocalFileStorageTest, IntegersBeyondInt64AreRefused) {
  LocalFileStorage storage = open();
  storage.set("key", std::uint64_t{9223372036854775807U});
  EXPECT_THAT(
      messageOf<InvalidArgument>([&] { storage.set("key", std::uint64_t{9223372036854775808U}); }),
      HasSubstr("9223372036854775808 does not fit"));
  EXPECT_EQ(storage.get<std::uint64_t>("key"), 9223372036854775807U);
}

// L3

TEST_F(LocalFileStorageTest, WrongTypeNamesKeyStoredAndAskedType) {
  LocalFileStorage storage = open();
  storage.set("long", 1);
  storage.set("bool", true);
  storage.set("binary", pattern(3));
  storage.set("struct", shop::Customer{});
  const std::string message = messageOf<TypeMismatch>([&] { (void)storage.getDouble("long"); });
  EXPECT_THAT(message, HasSubstr("key \"long\""));
  EXPECT_THAT(message, HasSubstr("holds int64, but was read as double"));
  EXPECT_THAT(message, HasSubstr(storage.directory()));
  EXPECT_THAT(message, HasSubstr("read it as that, or as a Value, or set it anew"));
  EXPECT_THROW((void)storage.getLong("bool"), TypeMismatch);
  EXPECT_THROW((void)storage.getBool("long"), TypeMismatch);
  EXPECT_THROW((void)storage.getBinary("bool"), TypeMismatch);
  EXPECT_THROW((void)storage.getString("binary"), TypeMismatch);
  EXPECT_THROW((void)storage.find<std::string>("long"), TypeMismatch);
  EXPECT_THROW((void)storage.getOr<std::string>("long", ""), TypeMismatch);
  EXPECT_THROW((void)storage.get<shop::Customer>("long"), TypeMismatch);
  EXPECT_THAT(messageOf<TypeMismatch>([&] { (void)storage.get<Value>("struct"); }),
              HasSubstr("holds struct shop::Customer"));
  storage.set("long", 300);
  EXPECT_THAT(messageOf<TypeMismatch>([&] { (void)storage.get<std::int8_t>("long"); }),
              AllOf(HasSubstr(storage.directory()), HasSubstr("does not fit"),
                    HasSubstr("read it as a wider or signed type, or as a Value")));
}

TEST_F(LocalFileStorageTest, AStructOfAnotherVersionNamesWhatToDo) {
  LocalFileStorage storage = open();
  storage.set("customer", shop::Customer{});
  storage.set("article", shop::Article{});
  const std::string other =
      messageOf<TypeMismatch>([&] { (void)storage.get<shop::CustomerBefore>("customer"); });
  EXPECT_THAT(other, AllOf(HasSubstr("key \"customer\""), HasSubstr(storage.directory())));
  EXPECT_THAT(other, HasSubstr("read it with the members, in the order, that it was stored with"));
  const std::string newer =
      messageOf<TypeMismatch>([&] { (void)storage.get<shop::ArticleBefore>("article"); });
  EXPECT_THAT(newer, AllOf(HasSubstr("key \"article\""), HasSubstr(storage.directory())));
  EXPECT_THAT(newer, HasSubstr("run a program that has that version"));
}

TEST_F(LocalFileStorageTest, MissingKeyIsNamed) {
  LocalFileStorage storage = open();
  const std::string message = messageOf<KeyNotFound>([&] { (void)storage.getLong("no such key"); });
  EXPECT_THAT(message, AllOf(HasSubstr("\"no such key\""), HasSubstr(storage.directory())));
  EXPECT_THAT(message, HasSubstr("use find, getOr or containsKey"));
  EXPECT_EQ(storage.find<std::int64_t>("no such key"), std::nullopt);
  EXPECT_EQ(storage.getOr<std::int64_t>("no such key", -1), -1);
  EXPECT_THAT(messageOf<KeyNotFound>([&] { (void)storage.getLong(std::string("a\0\n", 3)); }),
              HasSubstr(R"("a\x00\n")"));
}

// L4, L5

TEST_F(LocalFileStorageTest, ShorterValueLeavesNothingOfALongerOne) {
  for (const bool reopen : {false, true}) {
    LocalFileStorage storage = open();
    if (!reopen) {
      storage.set("key", "12345678");
      storage.set("key", "123");
    }
    EXPECT_EQ(storage.getString("key"), "123");
  }
}

TEST_F(LocalFileStorageTest, OtherTypeReplacesAValue) {
  LocalFileStorage storage = open();
  storage.set("key", 123);
  storage.set("key", 1.23);
  storage.set("key", "1.23");
  storage.set("key", pattern(3));
  storage.set("key", false);
  EXPECT_FALSE(storage.getBool("key"));
  EXPECT_THROW((void)storage.getBinary("key"), TypeMismatch);
}

TEST_F(LocalFileStorageTest, RemoveIsExactAndForgiving) {
  LocalFileStorage storage = open();
  for (const char* key : {"a", "b", "c", "d"}) storage.set(key, 1);
  storage.remove("a");
  storage.remove("c");
  storage.remove("c");
  storage.remove("never there");
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("b", "d"));
  EXPECT_FALSE(storage.containsKey("a"));
  storage.set("a", 2);
  EXPECT_EQ(storage.getLong("a"), 2);
  EXPECT_EQ(storage.size(), 3U);
}

TEST_F(LocalFileStorageTest, ClearTakesSubStoragesToo) {
  {
    LocalFileStorage storage = open();
    LocalFileStorage child = storage.subStorage("child");
    LocalFileStorage grandchild = child.subStorage("child");
    LocalFileStorage other = storage.subStorage("other");
    storage.set("key", 1);
    child.set("key", 2);
    grandchild.set("key", 3);
    other.set("key", 4);
    child.clear();
    EXPECT_EQ(storage.getLong("key"), 1);
    EXPECT_THAT(child.getAllKeys(), IsEmpty());
    EXPECT_THAT(grandchild.getAllKeys(), IsEmpty());
    EXPECT_EQ(other.getLong("key"), 4);
    child.set("key", 5);
    storage.clear();
    EXPECT_THAT(storage.getAllKeys(), IsEmpty());
    EXPECT_THAT(child.getAllKeys(), IsEmpty());
    EXPECT_THAT(other.getAllKeys(), IsEmpty());
    storage.set("new", 6);
  }
  EXPECT_THAT(open().getAllKeys(), ElementsAre("new"));
  EXPECT_EQ(open().subStorage("child").size(), 0U);
}

// One that begins with the other's name is not inside it.
TEST_F(LocalFileStorageTest, ClearOfASubStorageSparesItsNamesakes) {
  LocalFileStorage storage = open();
  for (const char* name : {"a", "ab", "a/b", "a%2Fb", "A", "a b"}) {
    storage.subStorage(name).set("name", name);
  }
  storage.subStorage("a").clear();
  EXPECT_EQ(storage.subStorage("a").size(), 0U);
  for (const char* name : {"ab", "a/b", "a%2Fb", "A", "a b"}) {
    EXPECT_EQ(storage.subStorage(name).getString("name"), name);
  }
}

TEST_F(LocalFileStorageTest, KeysAreListedByPrefixInOrderOfBytes) {
  LocalFileStorage storage = open();
  for (const char* key : {"user_12", "user_1", "v", "user", "user_\xFF", "User_1"}) {
    storage.set(key, 1);
  }
  EXPECT_THAT(storage.keys("user_"), ElementsAre("user_1", "user_12", "user_\xFF"));
  EXPECT_THAT(storage.keys("x"), IsEmpty());
  EXPECT_THAT(storage.keys(""),
              ElementsAre("User_1", "user", "user_1", "user_12", "user_\xFF", "v"));
}

// L6

TEST_F(LocalFileStorageTest, AnyBytesAreAKeyAndNeverAPath) {
  const std::vector<std::string> names = {"/",
                                          "\\",
                                          "a/b",
                                          "../escape",
                                          "/tmp/absolute",
                                          ".",
                                          "..",
                                          "~",
                                          "key~",
                                          "x.tmpf",
                                          "x.bckf",
                                          "x_migrated",
                                          "CON",
                                          "a:b",
                                          "Key",
                                          "key",
                                          "KEY",
                                          "\xC4\xB0",
                                          std::string(256, 'k'),
                                          std::string("\0", 1),
                                          std::string("a\0b", 3),
                                          "\xF0\x9F\x98\x80",
                                          "\xFF",
                                          " ",
                                          "\n",
                                          std::string(65536, 'K'),
                                          "sub"};
  const std::string outside = directory_ / "escape";
  {
    LocalFileStorage storage(directory_ / "inner/state");
    storage.subStorage("sub").set("key", "of the sub-storage");
    for (const std::string& name : names) storage.set(name, name);
  }
  const LocalFileStorage storage(directory_ / "inner/state");
  for (const std::string& name : names) {
    EXPECT_TRUE(storage.containsKey(name));
    EXPECT_EQ(storage.getString(name), name);
  }
  EXPECT_THAT(storage.getAllKeys(), ::testing::UnorderedElementsAreArray(names));
  EXPECT_EQ(storage.subStorage("sub").getString("key"), "of the sub-storage");
  std::vector<std::string> around;
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "inner")) {
    around.push_back(entry.path().filename());
  }
  EXPECT_THAT(around, ElementsAre("state"));
  EXPECT_FALSE(std::filesystem::exists(outside));
}

TEST_F(LocalFileStorageTest, AnyBytesAreASubStoragesName) {
  const std::vector<std::string> names = {
      "..",   "/",   "a/b", "%", "%2F", std::string("\0", 1), "\xFF", std::string(255, 'n'),
      "Name", "name"};
  {
    LocalFileStorage storage = open();
    for (const std::string& name : names) storage.subStorage(name).set("name", name);
  }
  const LocalFileStorage storage = open();
  for (const std::string& name : names) {
    EXPECT_EQ(storage.subStorage(name).getString("name"), name);
  }
  EXPECT_THROW((void)storage.subStorage(""), InvalidArgument);
  EXPECT_THROW((void)storage.subStorage(std::string(256, 'n')), InvalidArgument);
}

TEST_F(LocalFileStorageTest, EmptyAndOverlongKeysAreRefusedAtOnce) {
  LocalFileStorage storage = open();
  Batch batch = storage.batch();
  for (const std::string& key : {std::string(), std::string(65537, 'k')}) {
    EXPECT_THROW(storage.set(key, 1), InvalidArgument);
    EXPECT_THROW((void)storage.getLong(key), InvalidArgument);
    EXPECT_THROW((void)storage.find<bool>(key), InvalidArgument);
    EXPECT_THROW((void)storage.containsKey(key), InvalidArgument);
    EXPECT_THROW(storage.remove(key), InvalidArgument);
    EXPECT_THROW(storage.update<int>(key, [](auto) { return 1; }), InvalidArgument);
    EXPECT_THROW(batch.set(key, 1), InvalidArgument);
    EXPECT_THROW(batch.remove(key), InvalidArgument);
    EXPECT_THROW(storage.setAsync(key, 1).get(), InvalidArgument);
    EXPECT_THROW(storage.removeAsync(key).get(), InvalidArgument);
    EXPECT_THROW(storage.updateAsync<int>(key, [](auto) { return 1; }).get(), InvalidArgument);
    EXPECT_THROW((void)storage.getLongAsync(key).get(), InvalidArgument);
  }
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(storage.size(), 0U);
}

TEST_F(LocalFileStorageTest, CompatibilityModeLowerCasesKeys) {
  LocalFileStorageOptions options;
  options.lowerCaseKeys = true;
  LocalFileStorage storage = open(options);
  storage.set("Key1", 1);
  storage.set("KEY1", 2);
  storage.set("\xC4\xB0", 3);  // only A-Z, whatever the locale
  EXPECT_EQ(storage.getLong("key1"), 2);
  EXPECT_TRUE(storage.containsKey("kEy1"));
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("key1", "\xC4\xB0"));
  EXPECT_THAT(storage.keys("KE"), ElementsAre("key1"));
  storage.subStorage("Sub").set("KEY", 4);
  EXPECT_THAT(storage.subStorage("Sub").getAllKeys(), ElementsAre("key"));
  EXPECT_EQ(storage.update<int>("KEY1", [](auto old) { return *old + 1; }).current, 3);
  storage.remove("kEY1");
  EXPECT_FALSE(storage.containsKey("key1"));
}

// L8

TEST_F(LocalFileStorageTest, ManyThreadsOnOneKeyOfLargeValues) {
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  LocalFileStorage storage = open(options);
  constexpr std::size_t valueBytes = 326'000;
  std::atomic<int> torn = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 15; ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < 20; ++round) {
        storage.set("key", Binary(valueBytes, static_cast<std::byte>(thread * 16 + round)));
        const Binary read = storage.getBinary("key");
        if (read != Binary(valueBytes, read.at(0))) ++torn;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
}

TEST_F(LocalFileStorageTest, TwoHandlesOfOneProcessAreOneStorage) {
  LocalFileStorage one = open();
  LocalFileStorage other(directory_.path() + "/.");
  one.set("key", 1);
  EXPECT_EQ(other.getLong("key"), 1);
  other.set("key", 2);
  EXPECT_EQ(one.getLong("key"), 2);
}

TEST_F(LocalFileStorageTest, SecondProcessIsRefusedByNameOfTheHolderUntilItCloses) {
  Child holder([&](const Child& self) {
    {
      LocalFileStorage storage = open();
      storage.set("key", 1);
      self.tell(1);
      (void)self.hear();
    }
    self.tell(2);
    (void)self.hear();
  });
  ASSERT_EQ(holder.hear(), 1U);
  EXPECT_THAT(messageOf<OwnedElsewhere>([&] { (void)open(); }),
              HasSubstr(std::to_string(holder.pid())));
  holder.tell(1);
  ASSERT_EQ(holder.hear(), 2U);
  EXPECT_EQ(open().getLong("key"), 1);
}

TEST_F(LocalFileStorageTest, SecondProcessIsAdmittedAfterKill9) {
  Child holder([&](const Child& self) {
    LocalFileStorage storage = open();
    storage.set("key", 1);
    self.tell(1);
    (void)self.hear();
  });
  ASSERT_EQ(holder.hear(), 1U);
  EXPECT_THROW((void)open(), OwnedElsewhere);
  holder.kill9();
  EXPECT_EQ(open().getLong("key"), 1);
}

TEST_F(LocalFileStorageTest, SharedProcessesSeeEachOther) {
  LocalFileStorageOptions options;
  options.sharing = Sharing::Shared;
  options.durability = Durability::Buffered;
  constexpr int rounds = 500;
  const auto work = [&](const Child& self) {
    LocalFileStorage storage = open(options);
    self.tell(1);
    (void)self.hear();
    for (int i = 0; i < rounds; ++i) {
      storage.update<std::int64_t>("count", [](auto old) { return old.value_or(0) + 1; });
    }
  };
  Child one(work);
  Child other(work);
  ASSERT_EQ(one.hear(), 1U);
  ASSERT_EQ(other.hear(), 1U);
  one.tell(1);
  other.tell(1);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(other.wait(), 0);
  EXPECT_EQ(open(options).getLong("count"), 2 * rounds);
}

// L9

TEST_F(LocalFileStorageTest, KillLeavesEachKeyOldOrNewAndNothingConfirmedIsLost) {
  std::mt19937_64 random(penstock::testing::testSeed());
  std::uint32_t confirmed = 0;
  for (int kill = 0; kill < 20; ++kill) {
    Child writer([&](const Child& self) {
      LocalFileStorageOptions options;
      options.durability = Durability::Buffered;
      LocalFileStorage storage = open(options);
      auto count = storage.getOr<std::uint32_t>("count", 0);
      for (;;) {
        ++count;
        Batch batch = storage.batch();
        batch.set("count", count);
        batch.set("twin", std::string(count % 5000, 'x') + std::to_string(count));
        storage.write(batch);
        self.tell(count);
      }
    });
    const std::uint64_t after = confirmed + 1 + random() % 200;
    while (confirmed < after) {
      const auto heard = writer.hear();
      ASSERT_TRUE(heard);
      confirmed = *heard;
    }
    writer.kill9();
    while (const auto heard = writer.hear()) confirmed = *heard;
    const LocalFileStorage storage = open();
    const auto count = storage.get<std::uint32_t>("count");
    ASSERT_GE(count, confirmed);
    ASSERT_LE(count, confirmed + 1);
    ASSERT_EQ(storage.getString("twin"), std::string(count % 5000, 'x') + std::to_string(count));
    confirmed = count;
  }
}

// The same at every operation on the disk, on the simulated one.
TEST_F(LocalFileStorageTest, KillAtEveryWritePointLeavesEachKeyOldOrNew) {
  using testsupport::SimFs;
  const std::string large(20'000, 'x');
  const auto write = [&](LocalFileStorage& storage, int number, int& confirmed) {
    storage.set("one", number);
    Batch batch = storage.batch();
    batch.set("two", number);
    batch.set("large", large + std::to_string(number));
    storage.write(batch);
    confirmed = number;
  };
  for (std::uint64_t point = 1;; ++point) {
    SimFs machine(point);
    int confirmed = 0;
    {
      const auto process = machine.startProcess();
      try {
        machine.crashAfterOperation(point);
        LocalFileStorage storage("/state", {}, process->environment());
        for (int number = 1; number <= 3; ++number) write(storage, number, confirmed);
      } catch (const Error&) {
      }
      process->kill();
    }
    const bool atTheEnd = !machine.crashed();
    machine.crash(point, testsupport::Damage::RandomSubset);
    const auto process = machine.startProcess();
    LocalFileStorage storage("/state", {}, process->environment());
    const int one = storage.getOr("one", 0);
    const int two = storage.getOr("two", 0);
    ASSERT_TRUE(one == confirmed || one == confirmed + 1) << point << ": " << one;
    ASSERT_TRUE(two == confirmed || two == one) << point << ": " << two << " beside " << one;
    ASSERT_EQ(storage.getOr<std::string>("large", ""), two == 0 ? "" : large + std::to_string(two));
    if (atTheEnd) {
      ASSERT_EQ(confirmed, 3);
      ASSERT_GT(point, 15U);
      break;
    }
  }
}

TEST_F(LocalFileStorageTest, DamageIsRefusedByNameAndNothingIsWiped) {
  {
    LocalFileStorage storage = open();
    for (int i = 0; i < 100; ++i) storage.set("key" + std::to_string(i), std::string(100, 'v'));
  }
  std::filesystem::path largest;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    if (entry.is_regular_file() &&
        (largest.empty() || entry.file_size() > std::filesystem::file_size(largest))) {
      largest = entry.path();
    }
  }
  std::string content;
  {
    std::ifstream file(largest, std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::size_t at = content.find("vvvvvvvv", content.find("key50"));
  ASSERT_NE(at, std::string::npos);
  content[at] ^= 1;
  std::ofstream(largest, std::ios::binary | std::ios::trunc) << content;
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      (void)open().getString("key50");
      FAIL();
    } catch (const Corruption& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(largest.filename().string()),
                                      HasSubstr("`penstock state verify DIR`"),
                                      HasSubstr("restore it from a backup"),
                                      HasSubstr("`penstock state repair DIR COPY`")));
      EXPECT_THAT(error.file(), HasSubstr(largest.filename().string()));
      EXPECT_GT(error.offset(), 0U);
      EXPECT_LE(error.offset(), at);
    }
  }
  EXPECT_EQ(std::filesystem::file_size(largest), content.size());
}

// L10: what of the legacy dictionary and scalar state concerns a storage, each defect inverted

TEST_F(LocalFileStorageTest, TheSameValueSetAfterClearIsKept) {
  LocalFileStorage storage = open();
  storage.set("key", "same");
  storage.clear();
  storage.set("key", "same");
  storage.flush();
  EXPECT_EQ(storage.getString("key"), "same");
}

TEST_F(LocalFileStorageTest, ZeroIsAValue) {
  {
    LocalFileStorage storage = open();
    storage.set("long", 0);
    storage.set("double", 0.0);
    storage.set("bool", false);
  }
  const LocalFileStorage storage = open();
  EXPECT_EQ(storage.getLong("long"), 0);
  EXPECT_EQ(storage.getDouble("double"), 0.0);
  EXPECT_FALSE(storage.getBool("bool"));
}

TEST_F(LocalFileStorageTest, ARemovedKeyDoesNotComeBack) {
  {
    LocalFileStorage storage = open();
    storage.set("key", 1);
    storage.remove("key");
    storage.flush();
    EXPECT_FALSE(storage.containsKey("key"));
  }
  EXPECT_FALSE(open().containsKey("key"));
}

TEST_F(LocalFileStorageTest, ABinaryChangedInPlaceAndSetAgainIsWritten) {
  Binary bytes = pattern(10);
  {
    LocalFileStorage storage = open();
    storage.set("key", bytes);
    bytes[3] ^= std::byte{1};
    EXPECT_NE(storage.getBinary("key"), bytes) << "what is stored is a copy";
    storage.set("key", bytes);
  }
  EXPECT_EQ(open().getBinary("key"), bytes);
}

// Waking the thread that syncs costs several times what such a write costs.
TEST_F(LocalFileStorageTest, AWriteWithoutASyncWakesNobody) {
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  LocalFileStorage storage = open(options);
  const auto switches = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
  };
  const auto before = switches();
  for (int i = 0; i < 20'000; ++i) storage.set("k", i);
  EXPECT_LT(switches() - before, 4'000);
}

TEST_F(LocalFileStorageTest, WritesAreSeenBeforeTheyAreSynced) {
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  options.syncInterval = std::chrono::hours(1);
  LocalFileStorage storage = open(options);
  storage.set("key", 1);
  EXPECT_EQ(storage.getLong("key"), 1);
  storage.remove("key");
  EXPECT_FALSE(storage.containsKey("key"));
}

// Input positions lie in the batch of what was made of the input.
TEST_F(LocalFileStorageTest, AFailedWriteKeepsThePositionBackToo) {
  LocalFileStorage storage = open();
  Batch batch = storage.batch();
  batch.set("sum", std::string(1000, '1'));
  batch.set("position", 1);
  storage.write(batch);
  {
    const penstock::testing::FullDisk full(4096);
    batch.set("sum", std::string(5000, '2'));
    batch.set("position", 2);
    EXPECT_THROW(storage.write(batch), DiskFull);
  }
  EXPECT_EQ(storage.getLong("position"), 1);
  EXPECT_EQ(storage.getString("sum"), std::string(1000, '1'));
}

// update and write

TEST_F(LocalFileStorageTest, UpdateGivesOldAndNew) {
  LocalFileStorage storage = open();
  const auto change = [](int by) {
    return [by](std::optional<std::int64_t> old) { return (old.value_or(0) + by); };
  };
  Updated<std::int64_t> updated = storage.update<std::int64_t>("key", change(2));
  EXPECT_EQ(updated.previous, std::nullopt);
  EXPECT_EQ(updated.current, 2);
  updated = storage.update<std::int64_t>("key", change(-1));
  EXPECT_EQ(updated.previous, 2);
  EXPECT_EQ(updated.current, 1);
  updated = storage.updateAsync<std::int64_t>("key", change(7)).get();
  EXPECT_EQ(updated.previous, 1);
  EXPECT_EQ(storage.getLong("key"), 8);
}

TEST_F(LocalFileStorageTest, UpdateIsAtomicAmongThreads) {
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  LocalFileStorage storage = open(options);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 500; ++i) {
        const auto add = [](auto old) { return old.value_or(0) + 1; };
        if (thread % 2 == 0) {
          storage.update<std::int64_t>("key", add);
        } else {
          storage.updateAsync<std::int64_t>("key", add);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(storage.getLong("key"), 4000);
}

TEST_F(LocalFileStorageTest, UpdateThatThrowsChangesNothing) {
  LocalFileStorage storage = open();
  storage.set("key", 1);
  const auto fail = [](std::optional<std::int64_t>) -> std::int64_t {
    throw std::runtime_error("mine");
  };
  EXPECT_EQ(messageOf<std::runtime_error>([&] { storage.update<std::int64_t>("key", fail); }),
            "mine");
  EXPECT_EQ(
      messageOf<std::runtime_error>([&] { storage.updateAsync<std::int64_t>("key", fail).get(); }),
      "mine");
  EXPECT_THROW(storage.update<std::string>("key", [](auto) { return std::string(); }),
               TypeMismatch);
  EXPECT_EQ(storage.getLong("key"), 1);
  storage.set("key", 2);  // nobody was left waiting
}

TEST_F(LocalFileStorageTest, BatchIsSeenWholeAndInOrder) {
  {
    LocalFileStorage storage = open();
    LocalFileStorage child = storage.subStorage("child");
    storage.set("gone", 1);
    child.set("kept", 1);
    Batch batch = storage.batch();
    EXPECT_TRUE(batch.empty());
    batch.set("key", 1);
    batch.set("key", "later wins");
    batch.remove("gone");
    batch.into(child).set("key", 2.5);
    EXPECT_EQ(storage.getAllKeys(), (std::vector<std::string>{"gone"}));
    storage.write(batch);
    EXPECT_TRUE(batch.empty());
    batch.into(storage).set("again", true);
    storage.writeAsync(batch).get();
    EXPECT_TRUE(batch.empty());
  }
  const LocalFileStorage storage = open();
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("again", "key"));
  EXPECT_EQ(storage.getString("key"), "later wins");
  EXPECT_EQ(storage.subStorage("child").getDouble("key"), 2.5);
  EXPECT_EQ(storage.subStorage("child").getLong("kept"), 1);
}

TEST_F(LocalFileStorageTest, BatchClearsWhatCameBeforeIt) {
  LocalFileStorage storage = open();
  storage.set("before", 1);
  storage.subStorage("child").set("before", 1);
  Batch batch = storage.batch();
  batch.set("in", 1);
  batch.clear();
  batch.set("after", 1);
  storage.write(batch);
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("after"));
  EXPECT_EQ(storage.subStorage("child").size(), 0U);
}

TEST_F(LocalFileStorageTest, BatchOfAnotherDirectoryIsRefused) {
  LocalFileStorage storage = open();
  LocalFileStorage other(directory_ / "other");
  Batch batch = other.batch();
  batch.set("key", 1);
  EXPECT_THROW(storage.write(batch), InvalidArgument);
  EXPECT_THROW(storage.writeAsync(batch).get(), InvalidArgument);
  EXPECT_THROW(batch.into(storage), InvalidArgument);
  other.write(batch);
  EXPECT_EQ(other.getLong("key"), 1);
}

TEST_F(LocalFileStorageTest, AnEmptyBatchIsNoChange) {
  LocalFileStorage storage = open();
  storage.write(storage.batch());
  storage.writeAsync(storage.batch()).get();
  EXPECT_EQ(storage.size(), 0U);
}

// The twins

TEST_F(LocalFileStorageTest, AScanSeesAllOfABatchOrNothing) {
  LocalFileStorage storage(directory_.path(), {.durability = Durability::Buffered});
  LocalFileStorage sub = storage.subStorage("sub");
  std::atomic<bool> stop{false};
  std::atomic<int> parts{0};
  std::thread reader([&] {
    while (!stop) {
      const std::size_t seen = storage.keys("k").size();
      if (seen != 0 && seen != 2000) ++parts;
    }
  });
  for (int round = 0; round < 20; ++round) {
    Batch batch = storage.batch();  // some hundreds of KB: several sections
    for (int key = 0; key < 2000; ++key) {
      batch.set("k" + std::to_string(key), std::string(400, 'x'));
    }
    storage.write(batch);
    storage.clear();
  }
  stop = true;
  reader.join();
  EXPECT_EQ(parts, 0);
}

TEST_F(LocalFileStorageTest, BatchOfACopiedDirectoryIsRefused) {
  const std::string copy = directory_.path() + "-copy";
  { LocalFileStorage(directory_.path()).set("a", 1); }
  std::filesystem::copy(directory_.path(), copy, std::filesystem::copy_options::recursive);
  {
    LocalFileStorage original(directory_.path());
    LocalFileStorage other(copy);  // of the same id
    Batch batch = original.batch();
    batch.set("a", 99);
    EXPECT_THROW(other.write(batch), InvalidArgument);
    EXPECT_EQ(original.getLong("a"), 1);
  }
  std::filesystem::remove_all(copy);
}

TEST_F(LocalFileStorageTest, WritingWithinAnUpdateIsRefusedReadingIsNot) {
  LocalFileStorage storage(directory_.path());
  { storage.subStorage("config").set("step", 5); }
  LocalFileStorage again(directory_.path());
  EXPECT_EQ(again
                .update<std::int64_t>("n",
                                      [&](const std::optional<std::int64_t>& before) {
                                        return before.value_or(0) +
                                               again.subStorage("config").getLong("step");
                                      })
                .current,
            5);
  for (const auto& write : std::vector<std::function<void()>>{
           [&] { storage.set("log", 1); }, [&] { storage.setAsync("log", 1).get(); },
           [&] { storage.flush(); }, [&] { storage.subStorage("new").set("a", 1); },
           [&] { storage.update<std::int64_t>("log", [](const auto&) { return 1; }); }}) {
    EXPECT_THROW(storage.update<std::int64_t>("n",
                                              [&](const auto&) {
                                                write();
                                                return 7;
                                              }),
                 InvalidArgument);
  }
  EXPECT_EQ(storage.getLong("n"), 5);
  EXPECT_FALSE(storage.containsKey("log"));
}

TEST_F(LocalFileStorageTest, AsyncAndBlockingCallsOfOneThreadKeepTheirOrder) {
  LocalFileStorage storage(directory_.path());
  for (int i = 0; i < 100; ++i) {
    auto first = storage.setAsync("k", 1);
    storage.set("k", 2);
    first.get();
    ASSERT_EQ(storage.getLong("k"), 2);
    auto second = storage.setAsync("k", 3);
    storage.update<std::int64_t>("k", [](const auto& before) { return before.value() * 10; });
    second.get();
    ASSERT_EQ(storage.getLong("k"), 30);
  }
}

TEST_F(LocalFileStorageTest, FlushCoversAsyncCallsBeforeIt) {
  LocalFileStorage storage(directory_.path());
  for (int i = 0; i < 100; ++i) {
    auto set = storage.setAsync("k", i);
    storage.flush();
    ASSERT_EQ(set.wait_for(std::chrono::seconds(0)), std::future_status::ready);
    set.get();
  }
}

TEST_F(LocalFileStorageTest, WorksOnWhenTheWorkingDirectoryChanges) {
  const auto before = std::filesystem::current_path();
  std::filesystem::create_directories(directory_.path());
  std::filesystem::current_path(directory_.path());
  LocalFileStorage storage("state");
  std::filesystem::current_path("/");
  storage.set("large", std::string(9 << 20, 'x'));  // a file of its own
  std::filesystem::current_path(before);
  EXPECT_EQ(storage.directory(), (std::filesystem::path(directory_.path()) / "state").string());
  EXPECT_EQ(storage.getString("large").size(), 9U << 20);
  EXPECT_FALSE(std::filesystem::exists("/state"));
}

TEST_F(LocalFileStorageTest, FilesOfOthersAreLeftAlone) {
  { LocalFileStorage(directory_.path()).set("a", 1); }
  const std::vector<std::string> names{"photos.tmp", "segment-x.log", "notes.snap.tmp",
                                       "a.log.tmp"};
  for (const std::string& name : names) std::ofstream(directory_.path() + "/" + name) << "mine";
  { LocalFileStorage storage(directory_.path()); }
  for (const std::string& name : names) {
    EXPECT_EQ(std::filesystem::file_size(directory_.path() + "/" + name), 4U) << name;
  }
}

TEST_F(LocalFileStorageTest, EveryCallHasATwin) {
  LocalFileStorage storage = open();
  storage.setAsync("long", 123).get();
  storage.setAsync("double", 1.23).get();
  storage.setAsync("string", "1.23").get();
  storage.setAsync("binary", pattern(3)).get();
  storage.setAsync("bool", false).get();
  EXPECT_EQ(storage.getLongAsync("long").get(), 123);
  EXPECT_EQ(storage.getDoubleAsync("double").get(), 1.23);
  EXPECT_EQ(storage.getStringAsync("string").get(), "1.23");
  EXPECT_EQ(storage.getBinaryAsync("binary").get(), pattern(3));
  EXPECT_FALSE(storage.getBoolAsync("bool").get());
  EXPECT_EQ(storage.getAsync<int>("long").get(), 123);
  EXPECT_EQ(storage.findAsync<int>("absent").get(), std::nullopt);
  EXPECT_EQ(storage.getOrAsync<int>("absent", 5).get(), 5);
  EXPECT_TRUE(storage.containsKeyAsync("long").get());
  EXPECT_THAT(storage.getAllKeysAsync().get(),
              ElementsAre("binary", "bool", "double", "long", "string"));
  EXPECT_THAT(storage.keysAsync("b").get(), ElementsAre("binary", "bool"));
  EXPECT_EQ(storage.sizeAsync().get(), 5U);
  storage.removeAsync("bool").get();
  EXPECT_FALSE(storage.containsKey("bool"));
  LocalFileStorage child = storage.subStorageAsync("child").get();
  child.set("key", 1);
  storage.flushAsync().get();
  storage.clearAsync().get();
  EXPECT_EQ(storage.size(), 0U);
  EXPECT_EQ(child.size(), 0U);
  EXPECT_THROW(storage.getLongAsync("long").get(), KeyNotFound);
  EXPECT_THROW(storage.setAsync("key", std::numeric_limits<std::uint64_t>::max()).get(),
               InvalidArgument);
}

TEST_F(LocalFileStorageTest, DroppedFuturesAreStillCarriedOut) {
  {
    LocalFileStorage storage = open();
    for (int i = 0; i < 2000; ++i) storage.setAsync("key" + std::to_string(i), i);
  }
  const LocalFileStorage storage = open();
  EXPECT_EQ(storage.size(), 2000U);
  EXPECT_EQ(storage.getLong("key1999"), 1999);
}

TEST_F(LocalFileStorageTest, AsyncSetsOfOneThreadKeepTheirOrder) {
  LocalFileStorage storage = open();
  std::vector<std::future<void>> futures;
  for (int i = 0; i < 500; ++i) futures.push_back(storage.setAsync("key", i));
  for (auto& future : futures) future.get();
  EXPECT_EQ(storage.getLong("key"), 499);
}

// What a program sees is what a map would hold, also over reopening.
TEST_F(LocalFileStorageTest, BehavesAsAMap) {
  std::mt19937_64 random(penstock::testing::testSeed());
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  std::map<std::string, std::int64_t> expected;
  auto storage = std::make_unique<LocalFileStorage>(open(options));
  for (int step = 0; step < 20'000; ++step) {
    const std::string key = "key" + std::to_string(random() % 500);
    const auto number = static_cast<std::int64_t>(random());
    switch (random() % 16) {
      case 0:
      case 1:
        storage->remove(key);
        expected.erase(key);
        break;
      case 2:
        if (random() % 50 == 0) {
          storage->clear();
          expected.clear();
        }
        break;
      case 3:
        if (random() % 50 == 0) {
          storage.reset();
          storage = std::make_unique<LocalFileStorage>(open(options));
        }
        break;
      case 4:
        storage->update<std::int64_t>(key, [&](auto) { return number; });
        expected[key] = number;
        break;
      case 5:
      case 6:
      case 7:
      case 8: {
        const auto found = expected.find(key);
        const std::optional<std::int64_t> read = storage->find<std::int64_t>(key);
        ASSERT_EQ(read.has_value(), found != expected.end());
        if (read) {
          ASSERT_EQ(*read, found->second);
        }
        break;
      }
      default:
        storage->set(key, number);
        expected[key] = number;
    }
  }
  std::vector<std::string> keys;
  for (const auto& [key, value] : expected) keys.push_back(key);
  EXPECT_EQ(storage->getAllKeys(), keys);
}

TEST_F(LocalFileStorageTest, ValuesBeyondTheLimitAreRefused) {
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  LocalFileStorage storage = open(options);
  storage.set("key", 1);
  {
    const std::string tooLong(LocalFileStorage::valueBytesMax + 1, 'x');
    EXPECT_THAT(messageOf<InvalidArgument>([&] { storage.set("key", tooLong); }),
                HasSubstr("1073741825 bytes"));
  }
  EXPECT_EQ(storage.getLong("key"), 1);
}

// Far beyond what fits a frame. One of 1 GiB works as well, but would need 5 GiB of memory here.
TEST_F(LocalFileStorageTest, AVeryLargeValueIsKept) {
  std::string large(std::size_t{64} << 20, 'x');
  large.back() = 'y';
  {
    LocalFileStorageOptions options;
    options.durability = Durability::Buffered;
    open(options).set("key", large);
  }
  EXPECT_TRUE(open().getString("key") == large);
}

TEST_F(LocalFileStorageTest, AForkedChildMayDropItsHandle) {
  Child owner([&](const Child&) {
    auto storage = std::make_unique<LocalFileStorage>(directory_.path());
    storage->set("a", 1);
    const pid_t child = fork();
    if (child == 0) {
      storage.reset();
      _exit(0);
    }
    int status = 1;
    if (waitpid(child, &status, 0) != child || status != 0) _exit(1);
    storage->set("a", 2);
    storage.reset();
    _exit(0);
  });
  EXPECT_EQ(owner.wait(), 0);
  EXPECT_EQ(LocalFileStorage(directory_.path()).getLong("a"), 2);
}

TEST_F(LocalFileStorageTest, AForkedChildIsRefused) {
  LocalFileStorage storage = open();
  storage.set("key", 1);
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      storage.set("key", 2);
    } catch (const Closed&) {
      ::_exit(0);
    } catch (...) {
    }
    ::_exit(1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(storage.getLong("key"), 1);
}

}  // namespace
}  // namespace penstock::state
