// SPDX-License-Identifier: Apache-2.0
// Views of stores: the content of one moment, whatever is written, cleared, snapshotted or cleaned
// away meanwhile.
#include <gtest/gtest.h>

#include <penstock/state/journal.h>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bytes.h"
#include "commit_content.h"
#include "store_state.h"
#include "support/sim_fs.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"
#include "support/test_seed.h"

namespace penstock::state {
namespace {

using Content = std::map<std::string, std::string>;
using testsupport::SimFs;

Content contentOf(const Store& store) {
  Content content;
  for (StoreCursor at = store.cursor(); at.valid(); at.next()) {
    const bool fresh = content.emplace(at.key(), at.value()).second;
    EXPECT_TRUE(fresh) << at.key() << " came twice";
  }
  return content;
}

struct Kept {
  std::shared_ptr<const Store> view;
  Content content;
};

void expectSame(const Kept& kept, std::mt19937_64& random) {
  ASSERT_EQ(contentOf(*kept.view), kept.content);
  EXPECT_EQ(kept.view->size(), kept.content.size());
  for (int i = 0; i < 20; ++i) {
    const std::string key = std::to_string(random() % 3000);
    std::string value = "<absent>";
    const bool there = kept.view->get(key, value);
    EXPECT_EQ(kept.view->contains(key), there);
    const auto at = kept.content.find(key);
    EXPECT_EQ(value, at == kept.content.end() ? "<absent>" : at->second) << key;
  }
  const std::string from = std::to_string(random() % 3000);
  const std::string to = from + "5";
  std::vector<std::string> expected;
  for (auto at = kept.content.lower_bound(from); at != kept.content.lower_bound(to); ++at) {
    expected.push_back(at->first);
  }
  std::vector<std::string> scanned;
  kept.view->scan(from, to, [&](std::string_view key, std::string_view) {
    scanned.emplace_back(key);
    return true;
  });
  EXPECT_EQ(scanned, expected) << from << " to " << to;
}

TEST(StoreViewTest, IsTheStoreOfItsMomentWhateverComesLater) {
  std::mt19937_64 random(testing::testSeed());
  SimFs machine(random());
  const auto process = machine.startProcess();
  JournalOptions options;
  options.segmentBytes = 64 << 10;
  auto journal = Journal::open("/state", options, process->environment());
  const StoreId id = journal->declareStore("s");
  auto store = journal->store(id);
  Content model;
  std::vector<Kept> views;
  for (int step = 0; step < 3000; ++step) {
    Commit commit;
    const auto changes = random() % 20;
    for (std::uint64_t i = 0; i < changes; ++i) {
      const std::string key = std::to_string(random() % 3000);
      if (random() % 3 == 0) {
        commit.erase(id, key);
        model.erase(key);
      } else {
        const std::string value(random() % 40, static_cast<char>('a' + random() % 26));
        commit.put(id, key, value);
        model[key] = value;
      }
    }
    if (random() % 300 == 0) {
      commit.clear(id);
      model.clear();
    }
    if (random() % 100 == 0) {
      const std::string prefix = std::to_string(random() % 30);
      commit.erasePrefix(id, prefix);
      std::erase_if(model, [&](const auto& item) { return item.first.starts_with(prefix); });
    }
    (void)journal->commit(commit, Durability::Buffered);
    if (random() % 10 == 0) views.push_back({store->view(), model});
    if (random() % 100 == 0) {
      journal->snapshotStore(id);
      (void)journal->clean();
    }
    if (views.size() > 8) {
      const std::size_t at = random() % views.size();
      expectSame(views[at], random);
      if (::testing::Test::HasFatalFailure()) return;
      views.erase(views.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (random() % 50 == 0) {
      expectSame({store, model}, random);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(journal->metrics().snapshots, 0U);
  for (const Kept& kept : views) expectSame(kept, random);
  EXPECT_EQ(contentOf(*views.back().view->view()), views.back().content);
}

TEST(StoreViewTest, AViewIsOfUseWhenTheStoreIsRemoved) {
  testing::TemporaryDirectory directory;
  auto journal = Journal::open(directory / "state");
  const StoreId id = journal->declareStore("s");
  Commit commit;
  commit.put(id, "k", "v");
  (void)journal->commit(commit);
  journal->snapshotStore(id);
  const auto view = journal->store(id)->view();
  journal->removeStore(id);
  EXPECT_EQ(contentOf(*view), (Content{{"k", "v"}}));
}

TEST(StoreViewTest, WritingWhileACursorWalksIsNotSeen) {
  testing::TemporaryDirectory directory;
  auto journal = Journal::open(directory / "state");
  const StoreId id = journal->declareStore("s");
  const auto put = [&](const std::string& key, const std::string& value) {
    Commit commit;
    commit.put(id, key, value);
    (void)journal->commit(commit, Durability::Buffered);
  };
  for (int i = 10; i < 20; ++i) put(std::to_string(i), "before");
  auto store = journal->store(id);
  int walked = 0;
  for (StoreCursor at = store->cursor("13"); at.valid(); at.next()) {
    EXPECT_EQ(at.key(), std::to_string(13 + walked));
    EXPECT_EQ(at.value(), "before");
    put(std::to_string(13 + walked + 1), "after");
    put("3", "new");
    ++walked;
  }
  EXPECT_EQ(walked, 7);
}

// Every commit adds one to both stores; a view of both never finds them apart.
TEST(StoreViewTest, ViewsOfSeveralStoresAreOfOneMoment) {
  testing::TemporaryDirectory directory;
  auto journal = Journal::open(directory / "state");
  const std::vector<StoreId> ids = {journal->declareStore("b"), journal->declareStore("a")};
  const auto keptB = journal->store(ids[0]);
  const auto keptA = journal->store(ids[1]);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t n = 1; !stop.load(); ++n) {
      Commit commit;
      commit.put(ids[0], "n", std::to_string(n));
      commit.put(ids[1], "n", std::to_string(n));
      (void)journal->commit(commit, Durability::Buffered);
    }
  });
  std::string last;
  int moves = 0;
  const auto look = [&] {
    const auto views = journal->views(ids);
    std::string first = "0";
    std::string second = "0";
    (void)views[0]->get("n", first);
    (void)views[1]->get("n", second);
    EXPECT_EQ(first, second);
    moves += first == last ? 0 : 1;
    last = first;
  };
  EXPECT_TRUE(testing::eventually([&] {
    for (int i = 0; i < 1000 && moves < 50; ++i) look();
    return moves >= 50;
  }));
  stop = true;
  writer.join();
  EXPECT_EQ(journal->views(ids)[1]->name(), "a");
}

TEST(StoreViewTest, OutlivesTheJournalsHandlesAndSnapshots) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  auto journal = Journal::open("/state", {}, process->environment());
  const StoreId one = journal->declareStore("one");
  const StoreId two = journal->declareStore("two");
  Commit commit;
  commit.put(one, "a", "1");
  commit.put(one, "b", "1");
  (void)journal->commit(commit);
  journal->snapshotStore(one);
  commit.put(one, "a", "2");
  commit.erase(one, "b");
  commit.put(one, "c", "2");
  commit.put(two, "x", "2");
  (void)journal->commit(commit);
  const Sequence before = journal->written();
  const auto views = journal->views(std::vector<StoreId>{one, two});
  EXPECT_EQ(journal->written(), before);  // nothing was written for it
  commit.put(one, "a", "3");
  commit.clear(two);
  (void)journal->commit(commit);
  journal->snapshotStore(one);
  (void)journal->clean();
  journal.reset();
  EXPECT_EQ(contentOf(*views[0]), (Content{{"a", "2"}, {"c", "2"}}));
  EXPECT_EQ(contentOf(*views[1]), (Content{{"x", "2"}}));
}

TEST(StoreViewTest, AnImageHoldsWhatASnapshotInTheMakingIsWrittenFrom) {
  StoreState state(StoreId{1}, "store", nullptr);
  const auto put = [&](std::string_view key, std::string_view value) {
    std::string change{static_cast<char>(StoreOp::Put)};
    putText(change, key);
    putText(change, value);
    ASSERT_TRUE(state.apply(change));
  };
  const auto contentOfImage = [](const StoreImage& image) {
    Content content;
    for (ImageCursor at(image, {}); at.valid(); at.next()) content.emplace(at.key(), at.value());
    return content;
  };
  put("a", "1");
  put("b", "1");
  const auto written = state.beginSnapshot();
  ASSERT_TRUE(written);
  EXPECT_FALSE(state.beginSnapshot());  // one is in the making
  put("b", "2");
  const StoreImage image = state.image();
  put("b", "3");
  state.giveUpSnapshot();
  EXPECT_EQ(contentOfImage(*written), (Content{{"a", "1"}, {"b", "1"}}));
  EXPECT_EQ(contentOfImage(image), (Content{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(contentOfImage(state.image()), (Content{{"a", "1"}, {"b", "3"}}));
}

// Who views after each write makes a layer each time; a look-up must not have to visit them all.
TEST(StoreViewTest, ManyViewsLeaveFewLayers) {
  StoreState store(StoreId{1}, "s", nullptr);
  const auto put = [&](const std::string& key, const std::string& value) {
    std::string change(1, static_cast<char>(StoreOp::Put));
    putText(change, key);
    putText(change, value);
    ASSERT_TRUE(store.apply(change));
  };
  std::vector<StoreImage> images;
  std::string value;
  for (int i = 0; i < 20'000; ++i) {
    put(std::to_string(i), std::to_string(i));
    if (i % 2000 == 0) images.push_back(store.image());
    (void)store.image();
    ASSERT_LE(store.layers(), 9U) << "after " << i;
    ASSERT_TRUE(store.get(std::to_string(i / 2), value));
    ASSERT_EQ(value, std::to_string(i / 2));
  }
  EXPECT_EQ(images[1].count(), 2001U);
}

}  // namespace
}  // namespace penstock::state
