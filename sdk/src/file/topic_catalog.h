// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <penstock/topics.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::file {

/// A topic of a journal. A topic that is deleted and made again under the same name is another
/// one: it has another id and other logs.
struct Topic {
  std::string name;
  std::string id;                  // 16 random bytes
  std::vector<state::LogId> logs;  // one for each partition: `topic/NAME/NUMBER`

  [[nodiscard]] std::int32_t partitions() const noexcept {
    return static_cast<std::int32_t>(logs.size());
  }
};

/// The topics of a journal: its store `topics`, key the name, value
///
///   1   version, 1
///   16  id
///   4   number of partitions, little-endian
///   4   id of the log, for each partition
///
/// What a topic keeps (retention) is said by its logs alone.
///
/// Threads: safe from any thread; safe from several processes (creating and deleting hold the
/// claim `topics`).
/// Errors: ConfigurationError, state::OwnedElsewhere when another process sits on the claim,
/// state::Corruption, and those of the journal.
/// Durability: `create` and `remove` return when what they did is on disk.
class TopicCatalog {
 public:
  explicit TopicCatalog(std::shared_ptr<state::Journal> journal);

  /// False when it is there already with as many partitions, or none were asked for;
  /// ConfigurationError naming both numbers when with another.
  bool create(const std::string& name, const TopicConfig& config);
  /// False when there is none. Groups forget their positions in it.
  bool remove(const std::string& name);
  [[nodiscard]] std::optional<Topic> find(std::string_view name) const;
  /// Throws ConfigurationError.
  [[nodiscard]] Topic get(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> list() const;

  [[nodiscard]] static std::string logName(std::string_view topic, PartitionIndex partition);
  /// "topic 'a' partition 3", for messages.
  [[nodiscard]] static std::string describe(const TopicPartition& partition);

 private:
  [[nodiscard]] std::unique_ptr<state::Claim> claim(const std::string& what) const;

  std::shared_ptr<state::Journal> journal_;
  std::shared_ptr<state::Store> store_;
};

}  // namespace penstock::file
