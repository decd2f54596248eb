// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_purger.h"

#include <penstock/error.h>
#include <penstock/log.h>

namespace penstock::kafka {
namespace {

using DeleteRecords = Owned<rd_kafka_DeleteRecords_t, rd_kafka_DeleteRecords_destroy>;
using AdminOptions = Owned<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy>;

void logFailure(const char* reason) {
  log(LogLevel::Warning, "kafka", "purging repartition topics failed", {{"error", reason}});
}

}  // namespace

bool KafkaPurger::ready() {
  if (!asked_) return true;
  const Event answer(rd_kafka_queue_poll(answers_.get(), 0));
  if (!answer) return false;
  asked_ = false;
  if (rd_kafka_event_error(answer.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    logFailure(rd_kafka_event_error_string(answer.get()));
    return true;
  }
  const auto* result = rd_kafka_event_DeleteRecords_result(answer.get());
  const auto failure = firstError(*rd_kafka_DeleteRecords_result_offsets(result));
  if (failure != RD_KAFKA_RESP_ERR_NO_ERROR) logFailure(rd_kafka_err2str(failure));
  return true;
}

void KafkaPurger::purge(const std::map<TopicPartition, Offset>& below) {
  try {
    ask(below);
  } catch (const Error& error) {
    logFailure(error.what());
  }
}

void KafkaPurger::ask(const std::map<TopicPartition, Offset>& below) {
  if (!client_) {
    client_ = std::make_unique<Client>(
        RD_KAFKA_CONSUMER, ClientSettings{settings_.servers, settings_.values});
    answers_.reset(rd_kafka_queue_new(client_->get()));
  }
  const AdminOptions options(
      rd_kafka_AdminOptions_new(client_->get(), RD_KAFKA_ADMIN_OP_DELETERECORDS));
  char reason[256];
  check(rd_kafka_AdminOptions_set_request_timeout(options.get(), milliCount(settings_.timeout),
                                                  reason, sizeof(reason)),
        "purging repartition topics");
  const PartitionList list = partitionList(below);
  const DeleteRecords wanted(rd_kafka_DeleteRecords_new(list.get()));
  rd_kafka_DeleteRecords_t* request = wanted.get();
  rd_kafka_DeleteRecords(client_->get(), &request, 1, options.get(), answers_.get());
  asked_ = true;
}

}  // namespace penstock::kafka
