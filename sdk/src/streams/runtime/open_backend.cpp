// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/application_run.h"
#include "streams/runtime/file_backend.h"
#include "streams/runtime/kafka_backend.h"
#include "topics/address.h"

namespace penstock::streams {

std::shared_ptr<Backend> openBackend(const ApplicationOptions& options) {
  const topics::Address address = topics::parseAddress(options.broker);
  if (address.kafka) return std::make_shared<KafkaBackend>(address.place, options);
  FileBackendOptions files;
  files.directory = address.place;
  files.durability = options.durability;
  return std::make_shared<FileBackend>(files);
}

}  // namespace penstock::streams
