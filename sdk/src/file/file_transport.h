// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>

#include <map>
#include <memory>
#include <string>

#include "file/topic_catalog.h"
#include "topics/transport.h"

namespace penstock::file {

/// A directory whose journal holds topics, open `Shared`: any number of processes may have it.
class FileTransport final : public topics::Transport {
 public:
  /// Settings: those of StreamingClient that begin with "file."; others are left alone.
  FileTransport(const std::string& directory, const std::map<std::string, std::string>& settings);

  [[nodiscard]] std::string address() const override { return journal_->directory(); }
  bool createTopic(const std::string& name, const TopicConfig& config) override;
  std::vector<std::string> listTopics() override;
  std::optional<TopicDescription> describeTopic(const std::string& name) override;
  bool deleteTopic(const std::string& name) override;
  std::unique_ptr<topics::ConsumerBackend> consumer(const ConsumerOptions& options) override;
  std::unique_ptr<topics::ProducerBackend> producer(const ProducerOptions& options) override;

  // For the runtime, which commits records, state and positions as one frame of this journal.
  [[nodiscard]] const std::shared_ptr<state::Journal>& journal() const noexcept { return journal_; }
  [[nodiscard]] const std::shared_ptr<TopicCatalog>& catalog() const noexcept { return catalog_; }

 private:
  std::shared_ptr<state::Journal> journal_;
  std::shared_ptr<TopicCatalog> catalog_;
};

}  // namespace penstock::file
